import type { Placed } from './types.ts';

/** Why a placement is removed, made or replaced. In logs, events and tests. */
export type StepReason =
  | 'ScaledDown'
  | 'ServiceDeleted'
  | 'Duplicate'
  | 'ScaledUp'
  | 'HostLost'
  | 'SpecChanged'
  | 'RulesChanged'
  /** A service that it has to follow was replaced. */
  | 'Following'
  /** Its host is being emptied. */
  | 'HostDrained'
  /** Another host has fewer. */
  | 'Rebalanced'
  /** Of a global service: its host is not one for it any more, or has left. */
  | 'HostExcluded'
  | 'HostGone'
  | 'Unreadable'
  /** Of a oneshot: its end has been noted; it has nothing more to do; another try; the others have failed. */
  | 'Finished'
  | 'Completed'
  | 'Retried'
  | 'JobFailed'
  | 'ServiceRecreated'
  /** Contents of files changed, or have to be sealed anew. */
  | 'ContentChanged'
  /** Its successor, or the one beside it, is what is wanted. */
  | 'Superseded'
  | 'Updated'
  | 'Proved'
  | 'Alone'
  | 'Released';

/** One decision of a pass. */
export type Step =
  | { readonly type: 'remove'; readonly placed: Placed; readonly reason: StepReason }
  /** Rewrites the record in place so that nothing restarts. */
  | {
      readonly type: 'rewrite';
      readonly placed: Placed;
      readonly reason: StepReason;
    }
  /** Takes a host for an ordinal that has none. */
  | {
      readonly type: 'create';
      readonly ordinal: number;
      /** The last one of the ordinal is not gone yet: its host has to wait. */
      readonly hold?: boolean;
      /** The only host for it. */
      readonly host?: string;
      readonly reason: StepReason;
    }
  /**
   * Gives an ordinal a new instance, and takes the old one away in the same transaction. If no host fits, the old one
   * stays. `stay`: its present host is taken if it fits at all.
   */
  | {
      readonly type: 'replace';
      readonly placed: Placed;
      readonly stay: boolean;
      /** The only host for the new one. */
      readonly host?: string;
      readonly reason: StepReason;
    }
  /** Starts the successor of an instance beside it. `stay`: on the same host if it fits there. */
  | {
      readonly type: 'accompany';
      readonly placed: Placed;
      readonly stay: boolean;
      /** The only host for the new one. */
      readonly host?: string;
      readonly reason: StepReason;
    }
  /** Takes the old one of two away, and makes its successor the ordinal's only instance. */
  | {
      readonly type: 'finish';
      readonly placed: Placed;
      readonly next: Placed;
      /** The successor need not be watched any more. */
      readonly proved: boolean;
      readonly reason: StepReason;
    };

/** The ordinal that a step is about. */
export function ordinalOf(step: Step): number {
  return step.type === 'create' ? step.ordinal : step.placed.ordinal;
}
