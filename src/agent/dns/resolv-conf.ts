import { isIP } from 'node:net';
import { systemClock, type Clock } from '../../runtime/clock.ts';
import type { Upstream } from './upstream.ts';

/** The `nameserver` lines of a resolv.conf, without those that `isSelf`: asking oneself would go round for ever. */
export function parseResolvConf(
  text: string,
  isSelf: (address: string) => boolean,
): readonly Upstream[] {
  return text
    .split('\n')
    .map((line) => /^\s*nameserver\s+(\S+)/.exec(line)?.[1] ?? '')
    .filter((address) => isIP(address.replace(/%.*$/, '')) !== 0 && !isSelf(address))
    .slice(0, 3)
    .map((address) => ({ address, port: 53 }));
}

/**
 * The host's resolvers from a file like /etc/resolv.conf, read again at most once in `maxAgeMs` (default 5,000 ms). A file
 * that cannot be read leaves what was known.
 */
export function resolvConfUpstreams(
  readText: () => Promise<string>,
  isSelf: (address: string) => boolean,
  clock: Clock = systemClock,
  maxAgeMs = 5_000,
): () => Promise<readonly Upstream[]> {
  let known: readonly Upstream[] = [];
  let readAt = -Infinity;
  return async () => {
    if (clock.monotonic() - readAt < maxAgeMs) return known;
    readAt = clock.monotonic();
    try {
      known = parseResolvConf(await readText(), isSelf);
    } catch {
      // Resolvers rewrite the file in place at times; the next reading will do.
    }
    return known;
  };
}
