import type { HostState } from '../host-state.ts';
import type { Selection, SelectionContext } from '../strategy.ts';
import { HostHeap } from './host-heap.ts';
import { HostScan } from './host-scan.ts';
import type { Ranking } from './ranking.ts';

/** Up to so many choices looking through all hosts each time costs less than building a heap (measured, 1,000 hosts). */
const scanChoices = 6;

/** Chooses the best host by a ranking, by whichever of two ways costs less; both choose the same. */
export function byRank(
  hosts: readonly HostState[],
  ranking: Ranking,
  context: SelectionContext,
): Selection {
  return context.choices <= scanChoices
    ? new HostScan(hosts, ranking, context)
    : new HostHeap(hosts, ranking, context);
}
