/**
 * Errors in the shape in which Kubernetes answers them: `metav1.Status`. kubectl and client libraries
 * branch on `reason` and on `details.causes`, people read `message`; the texts follow
 * k8s.io/apimachinery/pkg/api/errors.
 */

/** One field that is wrong, as in `details.causes`. */
export interface FieldCause {
  readonly reason: string;
  readonly message: string;
  /** Path of the field, like `spec.replicas`; `<nil>` is never used here, an empty path is left out. */
  readonly field?: string;
}

export interface StatusDetails {
  readonly name?: string;
  readonly group?: string;
  readonly kind?: string;
  readonly uid?: string;
  readonly causes?: readonly FieldCause[];
  readonly retryAfterSeconds?: number;
}

/** A `v1.Status` document. */
export interface Status {
  readonly kind: 'Status';
  readonly apiVersion: 'v1';
  readonly metadata: Record<string, unknown>;
  readonly status: 'Success' | 'Failure';
  readonly message?: string;
  readonly reason?: string;
  readonly details?: StatusDetails;
  readonly code: number;
}

/** A refusal with its HTTP code and Status. Thrown anywhere below a handler, answered by the server. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly code: number;
  readonly reason: string;
  readonly details: StatusDetails | undefined;
  /** Members of the Status' ListMeta (`continue` of an expired list). */
  readonly listMeta: Record<string, unknown>;

  constructor(
    code: number,
    reason: string,
    message: string,
    details?: StatusDetails,
    listMeta: Record<string, unknown> = {},
  ) {
    super(message);
    this.code = code;
    this.reason = reason;
    this.details = details;
    this.listMeta = listMeta;
  }

  get retryable(): boolean {
    return this.code === 429 || this.code >= 500;
  }

  /** The Status document that is sent. */
  status(): Status {
    return {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: this.listMeta,
      status: 'Failure',
      message: this.message,
      ...(this.reason === '' ? {} : { reason: this.reason }),
      ...(this.details === undefined ? {} : { details: this.details }),
      code: this.code,
    };
  }
}

/** The type an error speaks of. */
export interface ErrorSubject {
  readonly group: string;
  readonly plural: string;
  readonly kind: string;
}

const qualified = (group: string, word: string): string =>
  group === '' ? word : `${word}.${group}`;

const groupOf = (group: string): { group?: string } => (group === '' ? {} : { group });

export const badRequest = (message: string): ApiError => new ApiError(400, 'BadRequest', message);

export const unauthorized = (): ApiError => new ApiError(401, 'Unauthorized', 'Unauthorized');

export function notFound(subject: ErrorSubject, name: string): ApiError {
  return new ApiError(
    404,
    'NotFound',
    `${qualified(subject.group, subject.plural)} "${name}" not found`,
    { name, ...groupOf(subject.group), kind: subject.plural },
  );
}

/** A path of a group that is served, but with nothing there. */
export const resourceNotFound = (): ApiError =>
  new ApiError(404, 'NotFound', 'the server could not find the requested resource', {});

export function alreadyExists(subject: ErrorSubject, name: string, terminating: boolean): ApiError {
  const text = `${qualified(subject.group, subject.plural)} "${name}" already exists`;
  return new ApiError(
    409,
    'AlreadyExists',
    terminating ? `object is being deleted: ${text}` : text,
    { name, ...groupOf(subject.group), kind: subject.plural },
  );
}

export function conflict(
  subject: ErrorSubject,
  name: string,
  why = 'the object has been modified; please apply your changes to the latest version and try again',
): ApiError {
  return new ApiError(
    409,
    'Conflict',
    `Operation cannot be fulfilled on ${qualified(subject.group, subject.plural)} "${name}": ${why}`,
    { name, ...groupOf(subject.group), kind: subject.plural },
  );
}

export function forbidden(subject: ErrorSubject, name: string, why: string): ApiError {
  const what = qualified(subject.group, subject.plural);
  return new ApiError(
    403,
    'Forbidden',
    name === '' ? `${what} is forbidden: ${why}` : `${what} "${name}" is forbidden: ${why}`,
    { ...(name === '' ? {} : { name }), ...groupOf(subject.group), kind: subject.plural },
  );
}

/** 422 with one cause per field. The causes must not be empty. */
export function invalid(
  subject: { readonly group: string; readonly kind: string },
  name: string,
  causes: readonly FieldCause[],
): ApiError {
  const lines = causes.map((cause) =>
    cause.field === undefined || cause.field === ''
      ? cause.message
      : `${cause.field}: ${cause.message}`,
  );
  const text = lines.length === 1 ? (lines[0] ?? '') : `[${lines.join(', ')}]`;
  const who = subject.kind === '' ? '' : qualified(subject.group, subject.kind);
  return new ApiError(422, 'Invalid', `${who} "${name}" is invalid: ${text}`, {
    ...(name === '' ? {} : { name }),
    ...groupOf(subject.group),
    ...(subject.kind === '' ? {} : { kind: subject.kind }),
    causes,
  });
}

export const methodNotAllowed = (): ApiError =>
  new ApiError(
    405,
    'MethodNotAllowed',
    'the server does not allow this method on the requested resource',
    {},
  );

export const notAcceptable = (types: readonly string[]): ApiError =>
  new ApiError(
    406,
    'NotAcceptable',
    `only the following media types are accepted: ${types.join(', ')}`,
  );

export const unsupportedMediaType = (types: readonly string[]): ApiError =>
  new ApiError(
    415,
    'UnsupportedMediaType',
    `the body of the request was in an unknown format - accepted media types include: ${types.join(', ')}`,
  );

export const tooLarge = (limitBytes: number): ApiError =>
  new ApiError(
    413,
    'RequestEntityTooLarge',
    `Request entity too large: limit is ${limitBytes}`,
    {},
  );

/** The watch cannot start at the revision asked for. */
export const expired = (message: string, listMeta: Record<string, unknown> = {}): ApiError =>
  new ApiError(410, 'Expired', message, undefined, listMeta);

export const revisionTooLarge = (asked: bigint, current: bigint): ApiError =>
  new ApiError(504, 'Timeout', `Too large resource version: ${asked}, current: ${current}`, {
    causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }],
    retryAfterSeconds: 1,
  });

export const unavailable = (message: string): ApiError =>
  new ApiError(503, 'ServiceUnavailable', message, { retryAfterSeconds: 1 });

export const internalError = (message: string): ApiError =>
  new ApiError(500, 'InternalError', `Internal error occurred: ${message}`, {
    causes: [{ reason: 'InternalError', message }],
  });
