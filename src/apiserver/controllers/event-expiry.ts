import { runPeriodically } from '../../runtime/periodic.ts';
import type { ApiContext } from '../context.ts';
import { lastSeen } from '../resources/events.ts';
import { collectionPrefix } from '../storage/keys.ts';
import type { StoredObject } from '../storage/stored-object.ts';

/** Events are kept for an hour after they were last seen, as in Kubernetes. */
const keepMs = 60 * 60_000;
const intervalMs = 60_000;

/** Removes old events. */
export class EventExpiry {
  readonly #context: ApiContext;

  constructor(context: ApiContext) {
    this.#context = context;
  }

  /** Runs until `signal` aborts. */
  run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#context;
    return runPeriodically(
      { name: 'event expiry', intervalMs, clock, log },
      () => this.#sweep(),
      signal,
    );
  }

  /** One pass. An event that changes in between stays. */
  async #sweep(): Promise<void> {
    const { cache, clock, objects, resources } = this.#context;
    const resource = resources.find('v1', 'events');
    if (resource === undefined) return;
    const before = clock.now() - keepMs;
    const old = [...cache.list(resource.storage, collectionPrefix(resource))].filter(
      (stored) => seenAt(stored) < before,
    );
    for (const stored of old) await objects.delete(stored);
  }
}

/** The latest of all times an event has: a clock that is behind must not lose it. */
function seenAt({ object }: StoredObject): number {
  const times = [lastSeen(object), object.metadata.creationTimestamp]
    .map((time) => (typeof time === 'string' ? Date.parse(time) : Number.NaN))
    .filter((time) => !Number.isNaN(time));
  return times.length === 0 ? 0 : Math.max(...times);
}
