import type { Hooks } from '../../api/v1alpha1/hooks.ts';
import type { EndCause } from '../../api/v1alpha1/restart-policy.ts';

export type HookPhase = keyof Hooks;

/** What the user calls them. */
export const hookField: Readonly<Record<HookPhase, string>> = {
  startPre: 'execStartPre',
  startPost: 'execStartPost',
  stop: 'execStop',
  stopPost: 'execStopPost',
};

/** CamelCase words for status and events. */
export const hookReasons: Readonly<Record<HookPhase, string>> = {
  startPre: 'StartPreFailed',
  startPost: 'StartPostFailed',
  stop: 'StopHookFailed',
  stopPost: 'StopPostFailed',
};

/** A hook that did not succeed. `message` says which, how it ended, and its last words. */
export class HookError extends Error {
  override readonly name = 'HookError';
  readonly phase: HookPhase;
  /** As if the container had ended so. */
  readonly ending: EndCause;
  readonly containerId: string;

  constructor(phase: HookPhase, containerId: string, ending: EndCause, message: string) {
    super(message);
    this.phase = phase;
    this.containerId = containerId;
    this.ending = ending;
  }

  get reason(): string {
    return hookReasons[this.phase];
  }
}
