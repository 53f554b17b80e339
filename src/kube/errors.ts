/**
 * The one place that understands how talking to an API server fails: Status bodies of calls, Status
 * objects inside watches, sockets that break, and time-outs.
 */
import { DeadlineError } from '../runtime/deadline.ts';

/** metav1.Status, as far as a client needs it. */
export interface Status {
  readonly kind: 'Status';
  readonly status?: string;
  readonly code?: number;
  readonly reason?: string;
  readonly message?: string;
  readonly details?: StatusDetails;
}

export interface StatusDetails {
  readonly name?: string;
  readonly group?: string;
  readonly kind?: string;
  readonly retryAfterSeconds?: number;
  readonly causes?: readonly {
    readonly reason?: string;
    readonly message?: string;
    readonly field?: string;
  }[];
}

/** Reason of a KubeError when no answer came at all: refused, reset, cut, name or certificate wrong. */
export const networkReason = 'Network';
/** Reason of a KubeError when no answer came in time. The outcome of a write is unknown. */
export const timeoutReason = 'ClientTimeout';

/**
 * Reason of a KubeError for a 404 that is not about an object: the kind is not served (its CRD is missing), or something
 * that is no API server answered. It must never be taken for "the object is gone".
 */
export const notServedReason = 'NotServed';
/** Reason of a KubeError when the server sent something that is not its API. */
export const unreadableReason = 'Unreadable';

/** A request to the API server that failed. */
export class KubeError extends Error {
  override readonly name = 'KubeError';
  /** HTTP status; 0 when there was no answer (then the outcome of a write is unknown). */
  readonly code: number;
  /** The API's machine-readable reason (NotFound, Conflict, Expired …), or one of ours. */
  readonly reason: string;
  /** Whether the same pass may succeed later without anybody changing the object. */
  readonly retryable: boolean;
  /** How long the server asks to wait, in milliseconds. */
  readonly retryAfterMs?: number;
  readonly details?: StatusDetails;

  constructor(
    init: {
      readonly code: number;
      readonly reason: string;
      readonly message: string;
      readonly retryAfterMs?: number | undefined;
      readonly details?: StatusDetails | undefined;
    },
    options?: ErrorOptions,
  ) {
    super(init.message, options);
    this.code = init.code;
    this.reason = init.reason;
    // A conflict is retryable: the next pass reads the object anew.
    this.retryable =
      [0, 408, 410, 429].includes(init.code) || init.code >= 500 || init.reason === 'Conflict';
    if (init.retryAfterMs !== undefined) this.retryAfterMs = init.retryAfterMs;
    if (init.details !== undefined) this.details = init.details;
  }
}

/** Reasons for answers that carry no Status (a proxy's error page, a plain-text 401). */
const reasonsByCode: Readonly<Record<number, string>> = {
  400: 'BadRequest',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: notServedReason,
  405: 'MethodNotAllowed',
  409: 'Conflict',
  410: 'Expired',
  415: 'UnsupportedMediaType',
  422: 'Invalid',
  429: 'TooManyRequests',
  500: 'InternalError',
  503: 'ServiceUnavailable',
  504: 'Timeout',
};

/** The error in an answer with an HTTP status of 400 or more. `retryAfter` is the header of that name. */
export function errorFromResponse(
  what: string,
  httpStatus: number,
  body: string,
  retryAfter?: string,
): KubeError {
  const status = parseStatus(body);
  return errorFromStatus(
    status ?? { kind: 'Status', message: `${what}: HTTP ${httpStatus}: ${excerpt(body)}` },
    httpStatus,
    parseRetryAfter(retryAfter),
  );
}

/** The error in a Status object, as a watch delivers it in an ERROR event. */
export function errorFromStatus(
  status: Status,
  httpStatus?: number,
  retryAfterMs?: number,
): KubeError {
  const code = httpStatus ?? status.code ?? 500;
  const seconds = status.details?.retryAfterSeconds;
  return new KubeError({
    code,
    reason: nonEmpty(status.reason) ?? reasonsByCode[code] ?? 'Unknown',
    message: nonEmpty(status.message) ?? `the API server answered with code ${code}`,
    retryAfterMs: retryAfterMs ?? (seconds === undefined ? undefined : seconds * 1000),
    details: status.details,
  });
}

/** The error for a request that got no (whole) answer. */
export function errorFromFailure(what: string, thrown: unknown): KubeError {
  if (thrown instanceof KubeError) return thrown;
  const reason = thrown instanceof DeadlineError ? timeoutReason : networkReason;
  return new KubeError(
    { code: 0, reason, message: `${what}: ${describeFailure(thrown)}` },
    { cause: thrown },
  );
}

/** The API server says that there is no such object (not: that it does not serve the kind). */
export function isNotFound(error: unknown): boolean {
  return error instanceof KubeError && error.code === 404 && error.reason !== notServedReason;
}

/** Somebody else changed the object first (not: somebody created it first). */
export function isConflict(error: unknown): boolean {
  return error instanceof KubeError && error.code === 409 && error.reason !== 'AlreadyExists';
}

export function isAlreadyExists(error: unknown): boolean {
  return error instanceof KubeError && error.reason === 'AlreadyExists';
}

/** The resource version or continue token is too old: list again. */
export function isGone(error: unknown): boolean {
  return error instanceof KubeError && error.code === 410;
}

/** The server does not know the version asked for yet, or any more: its store was restored or replaced. */
export function isFutureVersion(error: unknown): boolean {
  return (
    error instanceof KubeError &&
    (error.details?.causes?.some((cause) => cause.reason === 'ResourceVersionTooLarge') ?? false)
  );
}

/** The object breaks its schema or a rule. Only a change of the object helps. */
export function isInvalid(error: unknown): boolean {
  return error instanceof KubeError && error.code === 422;
}

/** The create was refused because the namespace is being deleted. */
export function isNamespaceTerminating(error: unknown): boolean {
  return (
    error instanceof KubeError &&
    error.code === 403 &&
    (error.details?.causes?.some((cause) => cause.reason === 'NamespaceTerminating') ?? false)
  );
}

/** We are not (yet) allowed to, or the resource is not (yet) served: worth a slow retry. */
export function isRefused(error: unknown): boolean {
  return error instanceof KubeError && [401, 403, 404].includes(error.code);
}

/** No answer: server down, network cut, or too slow. */
export function isUnreachable(error: unknown): boolean {
  return error instanceof KubeError && error.code === 0;
}

function parseStatus(body: string): Status | undefined {
  try {
    const value: unknown = JSON.parse(body);
    return isStatus(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a decoded JSON value is a Status object. */
export function isStatus(value: unknown): value is Status {
  return typeof value === 'object' && value !== null && 'kind' in value && value.kind === 'Status';
}

/** Seconds, or an HTTP date; in milliseconds from now. */
function parseRetryAfter(header: string | undefined): number | undefined {
  if (header === undefined) return undefined;
  const seconds = Number(header);
  if (Number.isFinite(seconds)) return Math.max(0, seconds * 1000);
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now());
}

function describeFailure(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  // A failed connect to a name with several addresses is an AggregateError with an empty message.
  if (thrown instanceof AggregateError && thrown.message === '') {
    return thrown.errors.map(describeFailure).join('; ');
  }
  const cause = thrown.cause instanceof Error ? ` (${thrown.cause.message})` : '';
  return `${thrown.message}${cause}`;
}

function excerpt(body: string): string {
  const text = body.replaceAll(/\s+/g, ' ').trim();
  return text.length > 200 ? `${text.slice(0, 200)}…` : text || 'no body';
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === '' ? undefined : text;
}
