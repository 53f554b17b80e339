import { describe, expect, it } from 'vitest';
import { DeadlineError } from '../runtime/deadline.ts';
import {
  errorFromFailure,
  errorFromResponse,
  errorFromStatus,
  isAlreadyExists,
  isConflict,
  isFutureVersion,
  isGone,
  isInvalid,
  isNamespaceTerminating,
  isNotFound,
  isRefused,
  isUnreachable,
  type KubeError,
} from './errors.ts';

const answer = (
  code: number,
  reason: string,
  details?: Record<string, unknown>,
  retryAfter?: string,
): KubeError =>
  errorFromResponse(
    'GET /x',
    code,
    JSON.stringify({ kind: 'Status', code, reason, message: `m ${reason}`, details }),
    retryAfter,
  );

describe('KubeError', () => {
  it.each([
    [answer(404, 'NotFound'), isNotFound, false],
    [answer(409, 'Conflict'), isConflict, true],
    [answer(409, 'AlreadyExists'), isAlreadyExists, false],
    [answer(410, 'Expired'), isGone, true],
    [answer(422, 'Invalid'), isInvalid, false],
    [answer(403, 'Forbidden'), isRefused, false],
    [answer(429, 'TooManyRequests'), () => true, true],
    [answer(500, 'InternalError'), () => true, true],
    [errorFromFailure('GET /x', new Error('ECONNREFUSED')), isUnreachable, true],
  ])('%s is recognised, and known to be worth a retry or not', (error, is, retryable) => {
    expect(is(error)).toBe(true);
    expect(error.retryable).toBe(retryable);
  });

  it('tells the two kinds of 409 apart', () => {
    expect(isConflict(answer(409, 'AlreadyExists'))).toBe(false);
    expect(isAlreadyExists(answer(409, 'Conflict'))).toBe(false);
  });

  it('sees a terminating namespace and a version from the future by their causes', () => {
    const causes = (reason: string) => ({ causes: [{ reason }] });
    expect(isNamespaceTerminating(answer(403, 'Forbidden', causes('NamespaceTerminating')))).toBe(
      true,
    );
    expect(isNamespaceTerminating(answer(403, 'Forbidden'))).toBe(false);
    expect(isFutureVersion(answer(504, 'Timeout', causes('ResourceVersionTooLarge')))).toBe(true);
    expect(isFutureVersion(answer(504, 'Timeout'))).toBe(false);
  });

  it('takes the wait from the header in seconds or as a date, else from the details', () => {
    expect(answer(429, 'TooManyRequests', { retryAfterSeconds: 9 }, '2').retryAfterMs).toBe(2000);
    expect(answer(429, 'TooManyRequests', { retryAfterSeconds: 9 }).retryAfterMs).toBe(9000);
    const date = new Date(Date.now() + 30_000).toUTCString();
    const waitMs = answer(503, 'ServiceUnavailable', undefined, date).retryAfterMs!;
    expect(waitMs).toBeGreaterThan(25_000);
    expect(waitMs).toBeLessThanOrEqual(30_000);
    expect(answer(503, 'ServiceUnavailable', undefined, 'soon').retryAfterMs).toBeUndefined();
    expect(answer(503, 'ServiceUnavailable').retryAfterMs).toBeUndefined();
  });

  it('makes sense of answers that carry no Status', () => {
    const html = errorFromResponse('GET /x', 503, `<h1>${'overloaded '.repeat(100)}</h1>`);
    expect(html).toMatchObject({ code: 503, reason: 'ServiceUnavailable', retryable: true });
    expect(html.message.length).toBeLessThan(300);
    expect(errorFromResponse('GET /x', 418, '').message).toBe('GET /x: HTTP 418: no body');
    // The kind is not served: that says nothing about the object.
    expect(isNotFound(errorFromResponse('GET /x', 404, '404 page not found'))).toBe(false);
    expect(isRefused(errorFromResponse('GET /x', 404, '404 page not found'))).toBe(true);
    expect(errorFromStatus({ kind: 'Status' })).toMatchObject({
      code: 500,
      reason: 'InternalError',
    });
  });

  it('tells a time-out from a broken network, and says why in words', () => {
    expect(errorFromFailure('GET /x', new DeadlineError('too slow'))).toMatchObject({
      code: 0,
      reason: 'ClientTimeout',
    });
    const refused = new AggregateError([new Error('refused ::1'), new Error('refused 127.0.0.1')]);
    expect(errorFromFailure('GET /x', refused).message).toBe(
      'GET /x: refused ::1; refused 127.0.0.1',
    );
    const nested = new TypeError('fetch failed', { cause: new Error('ECONNRESET') });
    expect(errorFromFailure('GET /x', nested).message).toBe('GET /x: fetch failed (ECONNRESET)');
    const known = answer(404, 'NotFound');
    expect(errorFromFailure('GET /x', known)).toBe(known);
  });
});
