import type { HostState } from '../host-state.ts';

/** How good a host is: smaller is better. `first` decides, then `second`, then the tie hash, then the name. */
export interface Ranking {
  readonly first: (host: HostState) => number;
  readonly second: (host: HostState) => number;
}
