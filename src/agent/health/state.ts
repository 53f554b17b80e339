/**
 * Whether one run of a container serves, from the results of its checks. Pure.
 *
 *     starting ── pass ──▶ healthy ── `retries` failures in a row ──▶ unhealthy
 *        │                    ▲                                          │
 *        │                    └───────────────── pass ───────────────────┘
 *        └── `retries` counted failures ──▶ unhealthy
 *
 * While starting, checks are frequent, so that a container serves soon after it can; their failures count only once per
 * interval and not in the start period. So a container that never passes is unhealthy `startPeriod + retries × interval`
 * after its start and not before.
 */
export interface HealthState {
  readonly status: HealthStatus;
  /** Failures in a row that count. */
  readonly failures: number;
  /** Age of the run from which on the next failure counts, milliseconds. */
  readonly countsFromMs: number;
  /** What the check said when the status was entered; while starting, what it said first. */
  readonly message: string | undefined;
  /** How often it has gone from healthy to unhealthy. */
  readonly flaps: number;
}

export type HealthStatus = 'starting' | 'healthy' | 'unhealthy';

export interface HealthTimes {
  readonly intervalMs: number;
  readonly retries: number;
  readonly startPeriodMs: number;
}

/** One that has just started. @param flaps of earlier runs. */
export function startingHealth(times: HealthTimes, flaps = 0): HealthState {
  const countsFromMs = times.startPeriodMs + times.intervalMs;
  return { status: 'starting', failures: 0, countsFromMs, message: undefined, flaps };
}

/**
 * One that has been running since before anybody looked: the agent was away. It goes on serving, as it did, until the first check,
 * which alone decides: agents come and go without a ripple.
 */
export function presumedHealth(times: HealthTimes): HealthState {
  return {
    status: 'healthy',
    failures: times.retries - 1,
    countsFromMs: 0,
    message: undefined,
    flaps: 0,
  };
}

export type CheckResult =
  | { readonly type: 'pass' }
  | { readonly type: 'fail'; readonly message: string }
  /** It could not be found out; nothing follows from it. */
  | { readonly type: 'unknown' };

/** The state after one more check. @param ageMs how long the container had been running when the check ended. */
export function afterCheck(
  state: HealthState,
  result: CheckResult,
  ageMs: number,
  times: HealthTimes,
): HealthState {
  if (result.type === 'unknown') return state;
  if (result.type === 'pass') {
    if (state.status === 'healthy') return { ...state, failures: 0 };
    return { ...state, status: 'healthy', failures: 0, message: undefined };
  }
  if (state.status === 'unhealthy') return state;
  const { status, countsFromMs } = state;
  const message = state.message ?? result.message;
  if (status === 'starting' && ageMs < countsFromMs) return { ...state, message };
  const failures = state.failures + 1;
  const counted = { ...state, failures, countsFromMs: countsFromMs + times.intervalMs };
  if (failures < times.retries) return status === 'starting' ? { ...counted, message } : counted;
  const flaps = state.flaps + (status === 'healthy' ? 1 : 0);
  return { ...counted, status: 'unhealthy', message: result.message, flaps };
}

const startingEveryMs = 1000;

/**
 * Pause before the next check. Up to a tenth is taken off at random, or hundreds of containers that were started
 * together would be checked together for ever.
 *
 * @param random in [0, 1).
 */
export function checkPauseMs(state: HealthState, times: HealthTimes, random: number): number {
  const { intervalMs } = times;
  const pauseMs = state.status === 'starting' ? Math.min(intervalMs, startingEveryMs) : intervalMs;
  return pauseMs * (1 - random / 10);
}
