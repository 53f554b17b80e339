import {
  GRPCCancelledError,
  GRPCDeadlineExceededError,
  GRPCInternalError,
  GRPCUnavailableError,
  type IOptions,
} from 'etcd3';
import type { Clock } from '../../runtime/clock.ts';
import { UnavailableError } from '../store.ts';

type MemberPolicy = ReturnType<NonNullable<NonNullable<IOptions['faultHandling']>['host']>>;

/** How long a member is passed over after its first failure, and at most after several in a row. */
const firstAvoidMs = 1_000;
const maxAvoidMs = 30_000;

interface Member {
  avoidUntil: number;
  failures: number;
}

/**
 * Makes etcd3 pass over members that failed lately, as long as there is another one to turn to. Takes
 * the place of etcd3's own policies, which repeat writes blindly and shut a lone member out for 5 s.
 */
export class MemberBreakers {
  readonly #clock: Clock;
  readonly #members: Member[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The policy for one more member. */
  add(): MemberPolicy {
    const member: Member = { avoidUntil: Number.NEGATIVE_INFINITY, failures: 0 };
    this.#members.push(member);
    return policy(async (call) => {
      if (this.#avoids(member) && !this.#members.every((m) => this.#avoids(m))) {
        throw new UnavailableError('this etcd member failed a moment ago');
      }
      try {
        const result = await call();
        member.failures = 0;
        return result;
      } catch (error) {
        if (blamesMember(error)) {
          const avoidMs = Math.min(maxAvoidMs, firstAvoidMs * 2 ** member.failures++);
          member.avoidUntil = this.#clock.monotonic() + avoidMs;
        }
        throw error;
      }
    });
  }

  #avoids(member: Member): boolean {
    return this.#clock.monotonic() < member.avoidUntil;
  }
}

/** The policy that does nothing. */
export function noPolicy(): MemberPolicy {
  return policy((call) => call());
}

function policy(run: <T>(call: () => Promise<T>) => Promise<T>): MemberPolicy {
  const never = (): { dispose: () => void } => ({ dispose: () => undefined });
  const made: Omit<MemberPolicy, '_altReturn'> = {
    onSuccess: never,
    onFailure: never,
    execute: (call, signal = new AbortController().signal) =>
      run(async () => await call({ signal })),
  };
  return made as MemberPolicy;
}

/** Cancelled: that is what we do to a stream that has fallen silent. */
function blamesMember(error: unknown): boolean {
  return (
    error instanceof GRPCUnavailableError ||
    error instanceof GRPCDeadlineExceededError ||
    error instanceof GRPCInternalError ||
    error instanceof GRPCCancelledError
  );
}
