import type { HostHealth } from '../host/health.ts';
import type { Step } from './step.ts';

/** Moves away from lost hosts that are held back, with the reason. */
export interface Held {
  readonly count: number;
  readonly message: string;
}

/** While many hosts are lost at once, lets moves away from them through one by one. */
export class MoveBrake {
  readonly #health: HostHealth;
  readonly #isUsed: (host: string) => boolean;
  readonly #perSecond: number;
  #tokens = 1;
  #at: number;

  /** @param isUsed something is placed on the host. @param now monotonic milliseconds */
  constructor(
    health: HostHealth,
    isUsed: (host: string) => boolean,
    perSecond: number,
    now: number,
  ) {
    this.#health = health;
    this.#isUsed = isUsed;
    this.#perSecond = perSecond;
    this.#at = now;
  }

  /** Time until another move may be let through, milliseconds. */
  get pauseMs(): number {
    return 1_000 / this.#perSecond;
  }

  /** The steps that may be taken now. @param now monotonic milliseconds */
  apply(
    steps: readonly Step[],
    now: number,
  ): { readonly steps: readonly Step[]; readonly held?: Held } {
    if (!steps.some(isMove)) return { steps };
    const brake = this.#health.brake(now, this.#isUsed);
    if (brake === undefined) return { steps };
    const refill = ((now - this.#at) * this.#perSecond) / 1000;
    this.#tokens = Math.min(1, this.#tokens + refill);
    this.#at = now;
    let count = 0;
    const allowed = steps.filter((step) => {
      if (!isMove(step)) return true;
      if (this.#tokens >= 1) {
        this.#tokens -= 1;
        return true;
      }
      count++;
      return false;
    });
    if (count === 0) return { steps };
    const message = `${brake.message}; moving ${String(this.#perSecond)} instance per second`;
    return { steps: allowed, held: { count, message } };
  }
}

function isMove(step: Step): boolean {
  return step.type === 'replace' && step.reason === 'HostLost';
}
