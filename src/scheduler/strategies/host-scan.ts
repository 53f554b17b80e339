import { mixHashes } from '../hash.ts';
import type { HostState } from '../host-state.ts';
import type { Selection, SelectionContext } from '../strategy.ts';
import type { Ranking } from './ranking.ts';

/**
 * Looks through all hosts for each choice, and runs the filters only on those that would be the best so far.
 * For groups of few instances, where a heap is not worth its building.
 */
export class HostScan implements Selection {
  readonly #hosts: readonly HostState[];
  readonly #ranking: Ranking;
  readonly #context: SelectionContext;
  /** Refused once, refused for the rest of the batch. */
  readonly #refused = new Set<HostState>();

  constructor(hosts: readonly HostState[], ranking: Ranking, context: SelectionContext) {
    this.#hosts = hosts;
    this.#ranking = ranking;
    this.#context = context;
  }

  next(fits: (host: HostState) => boolean): HostState | undefined {
    const { first, second } = this.#ranking;
    const { tieHash } = this.#context;
    let best: HostState | undefined;
    let bestFirst = Infinity;
    let bestSecond = Infinity;
    let bestTie = Infinity;
    for (const host of this.#hosts) {
      const a = first(host);
      if (a > bestFirst) continue;
      const b = second(host);
      if (a === bestFirst && b > bestSecond) continue;
      const tie = mixHashes(tieHash, host.hash);
      // Hosts come by name: of two that are equal in everything the first stays.
      if (a === bestFirst && b === bestSecond && tie >= bestTie) continue;
      if (this.#refused.has(host)) continue;
      if (!fits(host)) {
        this.#refused.add(host);
        continue;
      }
      best = host;
      bestFirst = a;
      bestSecond = b;
      bestTie = tie;
    }
    return best;
  }

  placed(): void {
    // The next look reads the hosts anew.
  }
}
