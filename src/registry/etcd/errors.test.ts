import { castGrpcError } from 'etcd3';
import { describe, expect, it } from 'vitest';
import { CompactedError, LeaseLostError, StoreRefusedError, UnavailableError } from '../store.ts';
import { certainlyNotApplied, toStoreError } from './errors.ts';
import { prefixRange } from './kv.ts';
import { hasOrderedProgress } from './progress-trust.ts';

/** As grpc-js throws it and etcd3 passes it on. */
function grpc(code: number, message: string): Error {
  return castGrpcError(Object.assign(new Error(message), { code }));
}

describe('toStoreError', () => {
  it.each([
    [14, '14 UNAVAILABLE: read ECONNRESET', UnavailableError],
    [4, '4 DEADLINE_EXCEEDED: Deadline exceeded', UnavailableError],
    [14, '14 UNAVAILABLE: etcdserver: request timed out', UnavailableError],
    [14, '14 UNAVAILABLE: etcdserver: leader changed', UnavailableError],
    [8, '8 RESOURCE_EXHAUSTED: etcdserver: too many requests', UnavailableError],
    [1, '1 CANCELLED: Cancelled on client', UnavailableError],
    [8, '8 RESOURCE_EXHAUSTED: etcdserver: mvcc: database space exceeded', StoreRefusedError],
    [3, '3 INVALID_ARGUMENT: etcdserver: request is too large', StoreRefusedError],
    [3, '3 INVALID_ARGUMENT: etcdserver: duplicate key given in txn request', StoreRefusedError],
    [
      11,
      '11 OUT_OF_RANGE: etcdserver: mvcc: required revision is a future revision',
      StoreRefusedError,
    ],
    [7, '7 PERMISSION_DENIED: etcdserver: permission denied', StoreRefusedError],
    [16, '16 UNAUTHENTICATED: etcdserver: invalid auth token', StoreRefusedError],
    [11, '11 OUT_OF_RANGE: etcdserver: mvcc: required revision has been compacted', CompactedError],
    [5, '5 NOT_FOUND: etcdserver: requested lease not found', LeaseLostError],
  ])('%i "%s"', (code, message, kind) => {
    const error = toStoreError(grpc(code, message));
    expect(error).toBeInstanceOf(kind);
    expect(toStoreError(error)).toBe(error);
  });

  it('takes what it does not know for a write of unknown outcome', () => {
    const error = toStoreError('what?');
    expect(error).toBeInstanceOf(UnavailableError);
    expect(certainlyNotApplied(error)).toBe(false);
  });

  it('tells a request that never left from one that may have arrived', () => {
    const refused = '14 UNAVAILABLE: No connection established. Last error: connect ECONNREFUSED';
    expect(certainlyNotApplied(toStoreError(grpc(14, refused)))).toBe(true);
    expect(certainlyNotApplied(toStoreError(grpc(14, '14 UNAVAILABLE: Connection dropped')))).toBe(
      false,
    );
    const timedOut = '14 UNAVAILABLE: etcdserver: request timed out';
    expect(certainlyNotApplied(toStoreError(grpc(14, timedOut)))).toBe(false);
  });
});

describe('progress answers', () => {
  it.each([
    ['3.4.23', false],
    ['3.4.25', true],
    ['3.4.30', true],
    ['3.5.7', false],
    ['3.5.8', true],
    ['3.6.0-rc.1', true],
    ['3.3.27', false],
    ['4.0.0', true],
    ['unknown', false],
  ])('of etcd %s are believed: %s', (version, trusted) => {
    expect(hasOrderedProgress(version)).toBe(trusted);
  });
});

describe('prefixRange', () => {
  it.each([
    ['/a/', '/a/', '/a0'],
    ['', '\0', '\0'],
    ['a\u007f', 'a\u007f', 'a\u0080'],
  ])('of "%s"', (prefix, key, end) => {
    const range = prefixRange(prefix);
    expect(range.key).toEqual(Buffer.from(key));
    // One more than the last byte, which need not be valid UTF-8.
    expect(range.range_end).toEqual(
      end === 'a\u0080' ? Buffer.from([0x61, 0x80]) : Buffer.from(end),
    );
  });
});
