import type { HostStanding } from '../placement/types.ts';

/** Rules of `HostHealth`; all times in milliseconds. */
export interface HealthOptions {
  /** TTL of the agents' leases. Default 5,000. */
  readonly ttlMs?: number;
  /** Longest planned absence that is believed, however far in the future its record says. Default 600,000. */
  readonly maxGraceMs?: number;
  /** How long a loss counts as one of "many at once". Default 60,000. */
  readonly massWindowMs?: number;
}

/** Many hosts were lost at once: moves are held back. */
export interface Brake {
  readonly lost: number;
  readonly total: number;
  readonly message: string;
}

/**
 * Decides which hosts are lost. Moving must never be faster than knowing; three things go wrong otherwise:
 *
 * - *An agent restarts.* It leaves a grace record; until that has run out, its host is absent and not lost.
 * - *The registry was away*, and every lease is late. From the moment when this operator sees it healthy again (or
 *   begins to look), each host has a full TTL to come back; only who vanishes after that is lost at once.
 * - *Many vanish together*: more than a third and more than one. That is more likely the network than the hosts, so
 *   `brake` says so and the mover goes slowly.
 *
 * Pure but for its memory: every method takes the present time, monotonic, in milliseconds.
 */
export class HostHealth {
  readonly #ttlMs: number;
  readonly #maxGraceMs: number;
  readonly #massWindowMs: number;
  readonly #present = new Set<string>();
  /** Absent hosts: since when. */
  readonly #absent = new Map<string, number>();
  /** Planned absences: until when. */
  readonly #grace = new Map<string, number>();
  /** Hosts that were found lost: since when. */
  readonly #lost = new Map<string, number>();
  #healthySince: number | undefined;

  constructor(options: HealthOptions = {}) {
    this.#ttlMs = options.ttlMs ?? 5_000;
    this.#maxGraceMs = options.maxGraceMs ?? 600_000;
    this.#massWindowMs = options.massWindowMs ?? 60_000;
  }

  /** The host's record is there. */
  present(host: string): void {
    this.#present.add(host);
    this.#absent.delete(host);
    this.#lost.delete(host);
  }

  /** The host's record is not there (any more). Also for hosts that only a placement speaks of. */
  absent(host: string, nowMs: number): void {
    this.#present.delete(host);
    if (!this.#absent.has(host)) this.#absent.set(host, nowMs);
  }

  /** Nothing speaks of the host any more. */
  forget(host: string): void {
    this.#present.delete(host);
    this.#absent.delete(host);
    this.#grace.delete(host);
    this.#lost.delete(host);
  }

  /** The host announced that it will be away for `remainingMs`; `undefined`: it takes that back. */
  grace(host: string, remainingMs: number | undefined, nowMs: number): void {
    if (remainingMs === undefined) this.#grace.delete(host);
    else this.#grace.set(host, nowMs + Math.min(Math.max(0, remainingMs), this.#maxGraceMs));
  }

  /** The registry answers. Only the first call after an outage (or at the start) matters. */
  registryHealthy(nowMs: number): void {
    this.#healthySince ??= nowMs;
  }

  /** The registry does not answer: from now on nobody is lost. */
  registryUnhealthy(): void {
    this.#healthySince = undefined;
  }

  /** How the host stands. A host that nobody ever spoke of is absent. */
  standing(host: string, nowMs: number): HostStanding {
    if (this.#present.has(host)) return 'present';
    const dueIn = this.#lostIn(host, nowMs);
    if (dueIn === undefined || dueIn > 0) return 'absent';
    if (!this.#lost.has(host)) this.#lost.set(host, nowMs);
    return 'lost';
  }

  /** Milliseconds until the next absent host will be lost; undefined when none is going to be. */
  nextLossInMs(nowMs: number): number | undefined {
    let next: number | undefined;
    for (const host of this.#absent.keys()) {
      const dueIn = this.#lostIn(host, nowMs);
      if (dueIn !== undefined && dueIn > 0) next = Math.min(next ?? dueIn, dueIn);
    }
    return next;
  }

  /** Whether it was said of the host that it is there, or that it is not. */
  knows(host: string): boolean {
    return this.#present.has(host) || this.#absent.has(host);
  }

  /** Hosts that are spoken of, in no order. */
  hosts(): string[] {
    return [...this.#present, ...this.#absent.keys()];
  }

  /** Hosts without a record. */
  absentHosts(): string[] {
    return [...this.#absent.keys()];
  }

  /** Until when a host announced to be away, in milliseconds from now; undefined without an announcement. */
  graceLeftMs(host: string, nowMs: number): number | undefined {
    const until = this.#grace.get(host);
    return until === undefined || until <= nowMs ? undefined : until - nowMs;
  }

  /** For how long the host is known to be lost; undefined: it is not. */
  lostForMs(host: string, nowMs: number): number | undefined {
    if (this.standing(host, nowMs) !== 'lost') return undefined;
    return nowMs - (this.#lost.get(host) ?? nowMs);
  }

  /** Whether the host's agent announced to be away, and has not come back since. */
  leftOnPurpose(host: string): boolean {
    return this.#grace.has(host);
  }

  /**
   * Whether many hosts vanished at once. A loss counts for `massWindowMs`, and as long as instances of the host wait
   * to be moved.
   */
  brake(nowMs: number, hasPlacements: (host: string) => boolean): Brake | undefined {
    let lost = 0;
    for (const [host, since] of this.#lost) {
      if (nowMs - since < this.#massWindowMs || hasPlacements(host)) lost++;
    }
    const total = this.#present.size + lost;
    if (lost <= 1 || lost * 3 <= total) return undefined;
    return {
      lost,
      total,
      message: `${String(lost)} of ${String(total)} hosts vanished at once, which is more likely the network than the hosts`,
    };
  }

  /** Milliseconds until an absent host is lost; undefined while that cannot be said. */
  #lostIn(host: string, nowMs: number): number | undefined {
    const since = this.#absent.get(host);
    if (since === undefined || this.#healthySince === undefined) return undefined;
    const sure = this.#healthySince + this.#ttlMs;
    const due = Math.max(since, sure, this.#grace.get(host) ?? since);
    return Math.max(0, due - nowMs);
  }
}
