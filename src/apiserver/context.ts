import type { Clock } from '../runtime/clock.ts';
import type { Logger } from '../telemetry/log.ts';
import type { ResourceRegistry } from './resources/resource.ts';
import type { ObjectStore } from './storage/object-store.ts';
import type { WatchCache } from './storage/watch-cache.ts';

/** What every handler and controller of the server works with. */
export interface ApiContext {
  readonly resources: ResourceRegistry;
  readonly objects: ObjectStore;
  readonly cache: WatchCache;
  readonly clock: Clock;
  readonly log: Logger;
  readonly uuid: () => string;
  /** A whole number from 0 to `below` - 1. */
  readonly random: (below: number) => number;
}
