import type { Strategy } from '../strategy.ts';
import { byRank } from './by-rank.ts';
import type { Ranking } from './ranking.ts';

const ranking: Ranking = {
  first: (host) => host.ofService,
  second: (host) => host.instances,
};

/** The host with the fewest instances of this service, then with the fewest of all. */
export const spread: Strategy = (hosts, context) => byRank(hosts, ranking, context);
