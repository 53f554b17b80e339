import type { UpdatePolicy } from '../../api/v1alpha1/update-policy.ts';
import type { InstanceRecord } from '../../registry/records/instance.ts';
import type { InstanceState, Placed } from './types.ts';

/**
 * Remembers since when each placed instance has served without a break, by this operator's own clock: an update goes
 * on only when the instance before has served for `monitorMs`. What an earlier operator saw is not known, so an
 * instance starts anew with each leader.
 */
export class Readiness {
  readonly #since = new Map<string, { id: string; at: number }>();
  readonly #monitorMs: number;
  /** Since when an update waits for instances, by path. */
  readonly #awaited = new Map<string, { id: string; at: number }>();

  constructor(monitorMs: number) {
    this.#monitorMs = monitorMs;
  }

  /** Takes note of what the agent says now. @param path of the placement. @param nowMs monotonic. */
  observe(path: string, record: InstanceRecord | undefined, nowMs: number): void {
    if (record?.ready !== true) {
      this.#since.delete(path);
      return;
    }
    this.#awaited.delete(path);
    if (this.#since.get(path)?.id !== record.id) {
      this.#since.set(path, { id: record.id, at: nowMs });
    }
  }

  /** Milliseconds for which an instance has been waited for, counted from the first question about it. */
  awaitedMs(path: string, id: string, nowMs: number): number {
    const known = this.#awaited.get(path);
    if (known?.id === id) return nowMs - known.at;
    this.#awaited.set(path, { id, at: nowMs });
    return 0;
  }

  /** Nothing is placed there any more. @param path of the placement */
  forget(path: string): void {
    this.#awaited.delete(path);
  }

  /**
   * Milliseconds until the instance counts as ready; 0 when it does, undefined when it does not serve.
   *
   * @param policy of its update: its own `monitor`, and with `rest` also its `delay`.
   */
  settlesInMs(
    path: string,
    id: string,
    nowMs: number,
    policy: Partial<Pick<UpdatePolicy, 'monitorMs' | 'delayMs'>> = {},
    rest = false,
  ): number | undefined {
    const since = this.#since.get(path);
    const wanted = (policy.monitorMs ?? this.#monitorMs) + (rest ? (policy.delayMs ?? 0) : 0);
    return since?.id === id ? Math.max(0, since.at + wanted - nowMs) : undefined;
  }
}

/** Reasons that an instance gives between two runs, or two checks, that have failed. */
const failingReasons: ReadonlySet<string> = new Set(['CrashLoop', 'Unhealthy']);

/** See InstanceState. @param settlesInMs of `Readiness`. */
export function instanceState(
  placed: Placed,
  record: InstanceRecord | undefined,
  settlesInMs: number | undefined,
): InstanceState {
  if (record === undefined) return 'unknown';
  if (placed.record !== undefined && record.id !== placed.record.id) return 'starting';
  // One that runs to its end has not got there while it runs.
  const isOneshot = placed.record?.container.oneshot === true;
  if (record.ready && !isOneshot) return (settlesInMs ?? 0) > 0 ? 'settling' : 'ready';
  if (record.phase === 'Failed' || failingReasons.has(record.reason ?? '')) return 'failed';
  if (record.phase === 'Exited') {
    // A clean end by a signal has another code than 0; the agent knows it for what it is.
    const isClean =
      record.reason === 'Completed' ||
      (record.exitCode === 0 && !(isOneshot && record.reason !== undefined));
    const isDone = placed.record?.container.restart !== 'always' && isClean;
    return isDone ? 'done' : 'failed';
  }
  return 'starting';
}

/** "ImagePullFailed: no such image", from whatever of it the agent reported. */
export function troubleOf(record: InstanceRecord | undefined): string | undefined {
  const parts = [record?.reason, record?.message].filter((part) => part !== undefined);
  return parts.length === 0 ? undefined : parts.join(': ');
}
