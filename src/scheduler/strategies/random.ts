import type { HostState } from '../host-state.ts';
import type { Strategy } from '../strategy.ts';

/**
 * Any fitting host, each with the same chance. Hosts are put in order of their names' hashes first, so that the same
 * seed gives the same choice in whatever order the hosts joined. O(1) a choice after O(hosts log hosts) once.
 */
export const random: Strategy = (hosts, context) => {
  const left = hosts.slice().sort((a, b) => a.hash - b.hash || (a.name < b.name ? -1 : 1));
  return {
    next(fits: (host: HostState) => boolean) {
      while (left.length > 0) {
        const index = Math.floor(context.random() * left.length);
        const host = left[index];
        if (host !== undefined && fits(host)) return host;
        const last = left.pop();
        if (last !== undefined && index < left.length) left[index] = last;
      }
      return undefined;
    },
    placed: () => undefined,
  };
};
