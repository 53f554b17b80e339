import {
  EtcdAuthenticationFailedError,
  EtcdInvalidAuthTokenError,
  EtcdLeaseInvalidError,
  EtcdPermissionDeniedError,
  GRPCFailedPreconditionError,
  GRPCInvalidArgumentError,
  GRPCNotImplementedError,
  GRPCUnauthenticatedError,
} from 'etcd3';
import {
  CompactedError,
  LeaseLostError,
  StoreRefusedError,
  UnavailableError,
  type Revision,
} from '../store.ts';

/** Errors of the Store contract: already translated. */
export function isStoreError(error: unknown): error is Error {
  return (
    error instanceof UnavailableError ||
    error instanceof CompactedError ||
    error instanceof LeaseLostError ||
    error instanceof StoreRefusedError
  );
}

/** Answers of etcd that no repetition changes. Texts: etcd's api/v3rpc/rpctypes/error.go. */
const refusals =
  /database space exceeded|request is too large|too many operations|duplicate key given|key is not provided|future revision|larger than max|certificate|self.signed|unable to verify|wrong version number|Protocol error.*tls/i;

/** Requests that etcd turned away before doing anything: repeating them is safe even for a write. */
const notApplied =
  /too many requests|no leader|Name resolution failed|No connection established|failed a moment ago/i;

/**
 * Translates what etcd3 or gRPC threw into the errors of the Store contract. What it does not know becomes UnavailableError:
 * repeating is right, and for a write the outcome is unknown.
 *
 * @param revision what a CompactedError shall name as the oldest revision, as far as the caller knows.
 */
export function toStoreError(error: unknown, revision: Revision = 0n): Error {
  if (isStoreError(error)) return error;
  const message = error instanceof Error ? error.message : String(error);
  if (/revision has been compacted/.test(message)) return new CompactedError(revision);
  if (error instanceof EtcdLeaseInvalidError) return new LeaseLostError(message, { cause: error });
  if (
    error instanceof EtcdPermissionDeniedError ||
    error instanceof EtcdAuthenticationFailedError ||
    error instanceof EtcdInvalidAuthTokenError ||
    error instanceof GRPCUnauthenticatedError ||
    error instanceof GRPCInvalidArgumentError ||
    error instanceof GRPCFailedPreconditionError ||
    error instanceof GRPCNotImplementedError ||
    refusals.test(message)
  ) {
    return new StoreRefusedError(explain(message), { cause: error });
  }
  return new UnavailableError(message, { cause: error });
}

/** Whether an UnavailableError says that a write certainly did not happen. */
export function certainlyNotApplied(error: Error): boolean {
  return notApplied.test(error.message);
}

/** Adds what to do about it where that is known. */
function explain(message: string): string {
  return message.includes('database space exceeded')
    ? `${message} (etcd is out of space: compact, defragment, then disarm the NOSPACE alarm)`
    : message;
}
