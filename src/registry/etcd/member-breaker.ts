import {
  GRPCDeadlineExceededError,
  GRPCInternalError,
  GRPCUnavailableError,
  type IOptions,
} from 'etcd3';
import type { Clock } from '../../runtime/clock.ts';
import { UnavailableError } from '../store.ts';

type MemberPolicy = ReturnType<NonNullable<NonNullable<IOptions['faultHandling']>['host']>>;

const never = (): { dispose: () => void } => ({ dispose: () => undefined });

/**
 * Makes etcd3 pass over a member for `avoidMs` after it failed, so that calls go to the others at once. 0: never.
 * Takes the place of etcd3's own policies, which repeat writes blindly and shut a lone member out for 5 s.
 */
export function memberBreaker(clock: Clock, avoidMs: number): MemberPolicy {
  let avoidUntil = Number.NEGATIVE_INFINITY;
  const policy: Omit<MemberPolicy, '_altReturn'> = {
    onSuccess: never,
    onFailure: never,
    async execute(call, signal = new AbortController().signal) {
      if (clock.monotonic() < avoidUntil) {
        throw new UnavailableError('this etcd member failed a moment ago');
      }
      try {
        return await call({ signal });
      } catch (error) {
        if (blamesMember(error)) avoidUntil = clock.monotonic() + avoidMs;
        throw error;
      }
    },
  };
  return policy as MemberPolicy;
}

function blamesMember(error: unknown): boolean {
  return (
    error instanceof GRPCUnavailableError ||
    error instanceof GRPCDeadlineExceededError ||
    error instanceof GRPCInternalError
  );
}
