import { EngineError } from './errors.ts';

/** Debian 12's engine (20.10) speaks 1.41; nothing older is tested, and older ones lack fields that are used. */
export const oldestApiVersion = '1.41';
/** The newest version that this code was written against. Engine 29 refuses anything below 1.44. */
export const newestApiVersion = '1.50';

/**
 * The API version to speak with an engine whose newest is `offered` ("1.47"). Pinned, so that a newer engine
 * does not change answers under us. Throws EngineRefused when the engine is too old.
 */
export function negotiateApiVersion(offered: string): string {
  if (!/^\d+\.\d+$/.test(offered)) {
    throw new EngineError('EngineRefused', `the engine states no API version (said "${offered}")`);
  }
  if (compare(offered, oldestApiVersion) < 0) {
    throw new EngineError(
      'EngineRefused',
      `the engine speaks API ${offered}; at least ${oldestApiVersion} (Docker 20.10) is needed`,
    );
  }
  return compare(offered, newestApiVersion) > 0 ? newestApiVersion : offered;
}

function compare(a: string, b: string): number {
  const [aMajor = 0, aMinor = 0] = a.split('.').map(Number);
  const [bMajor = 0, bMinor = 0] = b.split('.').map(Number);
  return aMajor - bMajor || aMinor - bMinor;
}
