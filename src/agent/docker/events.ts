import { EngineError } from './errors.ts';
import type { EngineEvent } from './engine.ts';
import { readJsonLines } from './ndjson.ts';

/** Events that can change what the agent must do or report. exec_* and the like would only be noise. */
export const followedActions = [
  'create',
  'start',
  'restart',
  'die',
  'oom',
  // Of the image's own check; comes as "health_status: unhealthy".
  'health_status',
  'pause',
  'unpause',
  'destroy',
  'rename',
  'update',
  // Of networks: a container is cut off or joined by hand.
  'connect',
  'disconnect',
] as const;

/**
 * Hands each event of the stream to `onEvent`, as soon as it is there: the engine drops events for a reader that is
 * not back within about 100 ms, so `onEvent` must only take notes. Throws EngineUnavailable when the stream ends:
 * a restart of dockerd, a cut and our own abort all look alike, only the caller knows which it was.
 */
export async function followEvents(
  stream: AsyncIterable<Uint8Array>,
  onEvent: (event: EngineEvent) => void,
): Promise<never> {
  for await (const raw of readJsonLines(stream)) {
    const event = parseEvent(raw);
    if (event !== undefined) onEvent(event);
  }
  throw new EngineError('EngineUnavailable', 'the event stream of the engine ended');
}

/** The event in a line of the stream, or undefined if it is none. */
export function parseEvent(raw: unknown): EngineEvent | undefined {
  if (typeof raw !== 'object' || raw === null) return undefined;
  const { Type: type, Action: action, Actor: actor } = raw as Record<string, unknown>;
  if (typeof type !== 'string' || typeof action !== 'string') return undefined;
  const { ID: id, Attributes: attributes } = (actor ?? {}) as Record<string, unknown>;
  if (typeof id !== 'string') return undefined;
  const labels: Record<string, string> = {};
  for (const [name, value] of Object.entries((attributes ?? {}) as Record<string, unknown>)) {
    if (typeof value === 'string') labels[name] = value;
  }
  if (type === 'network') return { type, action, id: labels['container'] ?? '', labels: {} };
  return { type, action, id, labels };
}
