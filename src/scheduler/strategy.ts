import type { HostState } from './host-state.ts';

/**
 * Chooses hosts for the instances of one service, one after the other. Made for one group of equal requests, during
 * which hosts only get fuller: a host that does not fit once may be dropped for good.
 */
export interface Selection {
  /** The best host that fits, or undefined when none does. The caller then places the instance there and calls `placed`. */
  next(fits: (host: HostState) => boolean): HostState | undefined;
  /** An instance was placed on what `next` gave. */
  placed(host: HostState): void;
}

/** What a strategy may look at beside the hosts. */
export interface SelectionContext {
  /** How many choices will be asked for at most. */
  readonly choices: number;
  /** Hash of seed and service: breaks ties, so that equal hosts get even shares over many services. */
  readonly tieHash: number;
  /** Numbers in [0, 1). */
  readonly random: () => number;
}

/** Hosts come sorted by name. */
export type Strategy = (hosts: readonly HostState[], context: SelectionContext) => Selection;
