import type { HostState } from '../host-state.ts';
import type { Strategy } from '../strategy.ts';

/** Any fitting host, each with the same chance: O(1) a choice, hosts that do not fit are dropped on the way. */
export const random: Strategy = (hosts, context) => {
  const left = hosts.slice();
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
