import type { RefusedPeer } from '../../network/overlay/vxlan.ts';
import { asError } from '../../runtime/errors.ts';
import type { Logger } from '../../telemetry/log.ts';
import { isCancelled } from './exec.ts';
import type { NetworkProblem } from './network-options.ts';

/** What is wrong with a host's network at the moment, by matter: told once when it begins and once when it ends. */
export class NetworkProblems {
  readonly #log: Logger;
  readonly #onProblem: ((problem: NetworkProblem) => void) | undefined;
  readonly #open = new Map<string, string>();
  readonly #listeners = new Set<() => void>();

  constructor(log: Logger, onProblem: ((problem: NetworkProblem) => void) | undefined) {
    this.#log = log;
    this.#onProblem = onProblem;
  }

  /** In words, for the Host's status. */
  open(): readonly string[] {
    return [...this.#open.values()];
  }

  /** Has `listener` called when `open()` has changed. */
  onChange(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /** A matter is as `message` says; undefined: it is well. */
  set(key: string, message: string | undefined): void {
    const before = this.#open.get(key);
    if (before === message) return;
    if (message !== undefined) {
      this.#open.set(key, message);
      this.#notify({ key, message, state: 'open' });
    } else if (before !== undefined) {
      this.#open.delete(key);
      this.#notify({ key, message: before, state: 'solved' });
    }
  }

  /** Something was wrong and is right again. */
  repaired(key: string, message: string): void {
    this.#notify({ key, message, state: 'repaired' });
  }

  /** Runs `action`; its failure is an open problem under `key` until it succeeds. */
  async guard<T>(key: string, action: () => T | Promise<T>): Promise<T> {
    try {
      const result = await action();
      this.set(key, undefined);
      return result;
    } catch (error) {
      if (!isCancelled(error)) this.set(key, asError(error).message);
      throw error;
    }
  }

  /** What is wrong with records of other hosts, by subnet, and which are refused for what the others say. */
  setRecords(broken: ReadonlyMap<string, string>, refused: readonly RefusedPeer[]): void {
    const current = new Map<string, string>();
    for (const [subnet, message] of broken) current.set(`record ${subnet}`, message);
    for (const { subnet, reason } of refused) {
      // What is wrong with the record itself says more than its clash with another.
      if (current.has(`record ${subnet}`)) continue;
      current.set(`record ${subnet}`, `record of subnet ${subnet} is not used: ${reason}`);
    }
    for (const key of [...this.#open.keys()]) {
      if (key.startsWith('record ') && !current.has(key)) this.set(key, undefined);
    }
    for (const [key, message] of current) this.set(key, message);
  }

  #notify(problem: NetworkProblem): void {
    if (problem.state === 'open') this.#log.warn({ key: problem.key }, problem.message);
    else this.#log.info({ key: problem.key, state: problem.state }, problem.message);
    this.#onProblem?.(problem);
    if (problem.state !== 'repaired') for (const listener of this.#listeners) listener();
  }
}
