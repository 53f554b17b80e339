import type { HostState } from '../host-state.ts';
import type { Strategy } from '../strategy.ts';
import { byRank } from './by-rank.ts';
import type { Ranking } from './ranking.ts';

/** Reserved share of a host, 0 to 1 (more when overcommitted): the scarcer of processors and memory. */
function fullness(host: HostState): number {
  const capacity = host.info?.capacity;
  return Math.max(
    share(host.reservedCpuMillis, capacity?.cpuMillis ?? 0),
    share(host.reservedMemoryBytes, capacity?.memoryBytes ?? 0),
  );
}

function share(reserved: number, capacity: number): number {
  return capacity > 0 ? reserved / capacity : 0;
}

const ranking: Ranking = {
  first: (host) => -fullness(host),
  second: (host) => -host.instances,
};

/** The fullest host that still fits, by reservations and then by instances: keeps whole hosts free. */
export const binpack: Strategy = (hosts, context) => byRank(hosts, ranking, context);
