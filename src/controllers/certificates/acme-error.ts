/** A step towards a certificate that failed. */
export class AcmeError extends Error {
  override readonly name = 'AcmeError';
  /**
   * `refused`: the authority has said no; asked again it says the same until somebody changes something. `away`: it has said nothing
   * about the matter, and what was begun can be gone on with.
   */
  readonly kind: 'refused' | 'away';
  /** Last part of the problem's type, "rateLimited" (RFC 8555, 6.7). */
  readonly type?: string;
  /** HTTP status of the answer. */
  readonly status?: number;
  /** How long it asks to wait, milliseconds. */
  readonly retryAfterMs?: number;

  constructor(
    kind: AcmeError['kind'],
    message: string,
    more: {
      readonly type?: string | undefined;
      readonly status?: number | undefined;
      readonly retryAfterMs?: number | undefined;
      readonly cause?: unknown;
    } = {},
  ) {
    super(message, more.cause === undefined ? {} : { cause: more.cause });
    this.kind = kind;
    if (more.type !== undefined) this.type = more.type;
    if (more.status !== undefined) this.status = more.status;
    if (more.retryAfterMs !== undefined) this.retryAfterMs = more.retryAfterMs;
  }
}

/** A limit of the authority that says nothing about when it ends, milliseconds: Let's Encrypt's shortest ones are of hours. */
const limitedMs = 3_600_000;

/** What an answer with an error status says. @param nowMs for a Retry-After that is a date */
export function errorOfAnswer(
  what: string,
  answer: {
    readonly status: number;
    readonly headers: Readonly<Record<string, string | undefined>>;
    readonly body: string;
  },
  nowMs: number,
): AcmeError {
  const { status, headers, body } = answer;
  const { type, detail } = problemIn(body);
  const limited = status === 429 || type === 'rateLimited';
  const asked = retryAfterMsOf(headers['retry-after'], nowMs);
  const retryAfterMs = asked ?? (limited ? limitedMs : undefined);
  // An account that is not known (any more) is made anew by the next try.
  const away = limited || status >= 500 || status === 408 || type === 'accountDoesNotExist';
  const said = detail ?? `${what}: HTTP ${String(status)}`;
  return new AcmeError(away ? 'away' : 'refused', said, { type, status, retryAfterMs });
}

/** Type and words of a problem document, as far as there is one; fit to be shown. */
export function problemIn(body: string): { readonly type?: string; readonly detail?: string } {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    return {};
  }
  return problemOf(value);
}

/** As `problemIn`, of what an order or a challenge has as its error. */
export function problemOf(value: unknown): { readonly type?: string; readonly detail?: string } {
  if (typeof value !== 'object' || value === null) return {};
  const { type, detail } = value as { readonly type?: unknown; readonly detail?: unknown };
  const prefix = 'urn:ietf:params:acme:error:';
  const known = typeof type === 'string' && type.startsWith(prefix);
  return {
    ...(known ? { type: type.slice(prefix.length) } : {}),
    ...(typeof detail === 'string' && detail !== '' ? { detail: fitToShow(detail) } : {}),
  };
}

/** The words of a stranger: of one line, without control characters, and not too many. */
export function fitToShow(text: string): string {
  const most = 300;
  const line = text.replaceAll(/[\p{C}\s]+/gu, ' ').trim();
  return line.length <= most ? line : `${line.slice(0, most)}…`;
}

/** Seconds, or a date (RFC 9110, 10.2.3); in milliseconds from now, at most a week. */
export function retryAfterMsOf(header: string | undefined, nowMs: number): number | undefined {
  if (header === undefined) return undefined;
  const ms = /^\d+$/.test(header.trim()) ? Number(header) * 1000 : Date.parse(header) - nowMs;
  if (Number.isNaN(ms)) return undefined;
  return Math.min(Math.max(0, ms), 7 * 86_400_000);
}
