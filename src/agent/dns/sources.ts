import type { Clock } from '../../runtime/clock.ts';
import { BucketRateLimiter } from '../../runtime/rate-limiter.ts';

export interface SourcesOptions {
  readonly allowed: (address: string) => boolean;
  readonly clock: Clock;
  /** What one source may ask for. */
  readonly queriesPerSecond: number;
}

/** One who asks. */
export interface Source {
  readonly bucket: BucketRateLimiter;
  /** Messages over UDP that are worked on. */
  udpPending: number;
  /** TCP connections. */
  connections: number;
  /** Counts messages beyond the rate. */
  excess: number;
  /** Monotonic time at which it was last told that there are such. */
  toldAt: number;
}

/** Most sources that are remembered: more than a host has containers. */
const maxSources = 4_096;
/** How long a source stays allowed before that is asked again, in milliseconds. */
const recheckMs = 1_000;

/** Those who ask: who may, and how much each has asked. */
export class Sources {
  readonly #options: SourcesOptions;
  readonly #known = new Map<string, Source & { checkedAt: number }>();

  constructor(options: SourcesOptions) {
    this.#options = options;
  }

  /** Undefined when the address may not ask. */
  find(address: string): Source | undefined {
    const { allowed, clock, queriesPerSecond } = this.#options;
    const now = clock.monotonic();
    const known = this.#known.get(address);
    if (known !== undefined && now - known.checkedAt < recheckMs) return known;
    if (!allowed(address)) {
      if (known !== undefined && isIdle(known)) this.#known.delete(address);
      return undefined;
    }
    if (known !== undefined) {
      known.checkedAt = now;
      return known;
    }
    if (this.#known.size >= maxSources) this.#forgetOne();
    const source = {
      // Two seconds' worth at once: a program that starts may ask for much.
      bucket: new BucketRateLimiter(clock, queriesPerSecond, 2 * queriesPerSecond),
      udpPending: 0,
      connections: 0,
      excess: 0,
      toldAt: -Infinity,
      checkedAt: now,
    };
    this.#known.set(address, source);
    return source;
  }

  /** The one known longest of those that wait for nothing. */
  #forgetOne(): void {
    for (const [address, source] of this.#known) {
      if (!isIdle(source)) continue;
      this.#known.delete(address);
      return;
    }
  }
}

function isIdle(source: Source): boolean {
  return source.udpPending === 0 && source.connections === 0;
}
