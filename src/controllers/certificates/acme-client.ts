import { createHash, createPublicKey, sign, type KeyObject } from 'node:crypto';
import { z } from 'zod';
import type { Clock } from '../../runtime/clock.ts';
import { deadline } from '../../runtime/deadline.ts';
import { asError } from '../../runtime/errors.ts';
import { AcmeError, errorOfAnswer, fitToShow, retryAfterMsOf } from './acme-error.ts';
import type { AcmeAnswer, AcmeTransport } from './transport.ts';

const url = z.string().max(2_000);
const directorySchema = z.looseObject({ newNonce: url, newAccount: url, newOrder: url });
type Directory = z.infer<typeof directorySchema>;

const orderSchema = z.looseObject({
  status: z.enum(['pending', 'ready', 'processing', 'valid', 'invalid']),
  authorizations: z.array(url).max(100),
  finalize: url,
  certificate: url.optional(),
  error: z.unknown().optional(),
});
/** RFC 8555, 7.1.3. */
export type Order = z.infer<typeof orderSchema>;

const authorizationSchema = z.looseObject({
  status: z.enum(['pending', 'valid', 'invalid', 'deactivated', 'expired', 'revoked']),
  identifier: z.looseObject({ type: z.string(), value: z.string() }),
  challenges: z
    .array(
      z.looseObject({
        type: z.string(),
        url,
        status: z.string().default('pending'),
        token: z.string().optional(),
        error: z.unknown().optional(),
      }),
    )
    .max(100),
});
/** RFC 8555, 7.1.4. */
export type Authorization = z.infer<typeof authorizationSchema>;

/** What the authority says of a thing, and when to ask again. */
export interface Told<T> {
  readonly value: T;
  readonly retryAfterMs?: number;
}

export interface AcmeClientOptions {
  /** URL of the authority's directory. */
  readonly directory: string;
  /** Of the account: P-256. */
  readonly key: KeyObject;
  /** Whom the authority may write to. */
  readonly email?: string | undefined;
  readonly transport: AcmeTransport;
  readonly clock: Clock;
}

/** An answer that takes longer is none. */
const answerWithinMs = 30_000;
/** A directory is read anew after so long: authorities move. */
const directoryForMs = 3_600_000;
const mostNonces = 16;
/** An authority may forget nonces whenever it likes. */
const mostBadNonces = 8;

/**
 * The client's part of RFC 8555, as far as certificates for names by HTTP-01 need it. All methods reject with AcmeError, or
 * with the reason of `signal` when that aborts. Nothing is retried but a nonce that was too old: when to try again is for who
 * calls to decide, since it must be remembered beyond this process.
 */
export class AcmeClient {
  readonly #options: AcmeClientOptions;
  readonly #jwk: {
    readonly crv: string;
    readonly kty: string;
    readonly x: string;
    readonly y: string;
  };
  readonly #nonces: string[] = [];
  #directory: { readonly value: Directory; readonly readAt: number } | undefined;
  #account: string | undefined;

  constructor(options: AcmeClientOptions) {
    this.#options = options;
    const {
      crv = '',
      kty = '',
      x = '',
      y = '',
    } = createPublicKey(options.key).export({
      format: 'jwk',
    });
    // In the order in which the thumbprint has them (RFC 7638, 3.2).
    this.#jwk = { crv, kty, x, y };
  }

  /** What a router is to answer for a token (RFC 8555, 8.1). */
  keyAuthorization(token: string): string {
    const thumbprint = createHash('sha256').update(JSON.stringify(this.#jwk)).digest('base64url');
    return `${token}.${thumbprint}`;
  }

  /** Orders a certificate. Gives the URL of the order. */
  async placeOrder(host: string, signal: AbortSignal): Promise<string> {
    const { newOrder } = await this.#read(signal);
    const payload = { identifiers: [{ type: 'dns', value: host }] };
    const answer = await this.#post(newOrder, payload, signal);
    const { location } = answer.headers;
    if (location === undefined) throw new AcmeError('refused', 'the authority names no order');
    return location;
  }

  order(at: string, signal: AbortSignal): Promise<Told<Order>> {
    return this.#fetch(at, orderSchema, signal);
  }

  authorization(at: string, signal: AbortSignal): Promise<Told<Authorization>> {
    return this.#fetch(at, authorizationSchema, signal);
  }

  /** Tells the authority that the answer to a challenge is there to be looked at. */
  async answered(challenge: string, signal: AbortSignal): Promise<void> {
    await this.#post(challenge, {}, signal);
  }

  /** Has the certificate issued. @param csr DER */
  async finalize(at: string, csr: Uint8Array, signal: AbortSignal): Promise<void> {
    await this.#post(at, { csr: Buffer.from(csr).toString('base64url') }, signal);
  }

  /** The certificate and those between it and a root, PEM. */
  async certificate(at: string, signal: AbortSignal): Promise<string> {
    return (await this.#post(at, undefined, signal)).body;
  }

  async #fetch<T>(at: string, schema: z.ZodType<T>, signal: AbortSignal): Promise<Told<T>> {
    const answer = await this.#post(at, undefined, signal);
    const wait = retryAfterMsOf(answer.headers['retry-after'], this.#options.clock.now());
    return {
      value: parse(schema, answer.body),
      ...(wait === undefined ? {} : { retryAfterMs: wait }),
    };
  }

  async #read(signal: AbortSignal): Promise<Directory> {
    const { directory, clock } = this.#options;
    const known = this.#directory;
    if (known !== undefined && clock.monotonic() - known.readAt < directoryForMs) {
      return known.value;
    }
    const answer = await this.#send('GET', directory, undefined, signal);
    if (answer.status !== 200) {
      const error = errorOfAnswer('the directory', answer, clock.now());
      // Whatever is there: an authority that is set up wrongly is one that is not there yet.
      throw new AcmeError('away', error.message, error);
    }
    const value = parse(directorySchema, answer.body);
    this.#directory = { value, readAt: clock.monotonic() };
    return value;
  }

  /** The URL that names us; an account is made when the authority knows none with this key. */
  async #accountUrl(signal: AbortSignal): Promise<string> {
    if (this.#account !== undefined) return this.#account;
    const { newAccount } = await this.#read(signal);
    const contact = this.#options.email === undefined ? [] : [`mailto:${this.#options.email}`];
    const payload = { termsOfServiceAgreed: true, contact };
    const answer = await this.#signed(newAccount, payload, { jwk: this.#jwk }, signal);
    const account = answer.headers['location'];
    if (account === undefined) throw new AcmeError('refused', 'the authority names no account');
    if (answer.status === 200 && !hasContact(answer.body, contact)) {
      await this.#signed(account, { contact }, { kid: account }, signal);
    }
    this.#account = account;
    return account;
  }

  /** A signed request in the account's name. @param payload undefined: it only reads (RFC 8555, 6.3) */
  async #post(at: string, payload: object | undefined, signal: AbortSignal): Promise<AcmeAnswer> {
    const kid = await this.#accountUrl(signal);
    try {
      return await this.#signed(at, payload, { kid }, signal);
    } catch (error) {
      if (error instanceof AcmeError && error.type === 'accountDoesNotExist') {
        this.#account = undefined;
        this.#directory = undefined;
      }
      throw error;
    }
  }

  async #signed(
    at: string,
    payload: object | undefined,
    who: { readonly kid: string } | { readonly jwk: object },
    signal: AbortSignal,
  ): Promise<AcmeAnswer> {
    for (let tries = 1; ; tries++) {
      const nonce = this.#nonces.pop() ?? (await this.#newNonce(signal));
      const head = encode(JSON.stringify({ alg: 'ES256', nonce, url: at, ...who }));
      const body = payload === undefined ? '' : encode(JSON.stringify(payload));
      const signature = sign('sha256', Buffer.from(`${head}.${body}`), {
        key: this.#options.key,
        dsaEncoding: 'ieee-p1363',
      }).toString('base64url');
      const text = JSON.stringify({ protected: head, payload: body, signature });
      const answer = await this.#send('POST', at, text, signal);
      if (answer.status < 300) return answer;
      const error = errorOfAnswer(`POST ${at}`, answer, this.#options.clock.now());
      if (error.type !== 'badNonce' || tries === mostBadNonces) throw error;
      // The others are as old as that one, or older.
      this.#nonces.splice(0, this.#nonces.length - 1);
    }
  }

  async #newNonce(signal: AbortSignal): Promise<string> {
    const { newNonce } = await this.#read(signal);
    const answer = await this.#send('HEAD', newNonce, undefined, signal);
    const nonce = this.#nonces.pop();
    if (nonce !== undefined) return nonce;
    const { message, ...more } = errorOfAnswer('a nonce', answer, this.#options.clock.now());
    throw new AcmeError('away', message, more);
  }

  async #send(
    method: 'GET' | 'HEAD' | 'POST',
    at: string,
    body: string | undefined,
    signal: AbortSignal,
  ): Promise<AcmeAnswer> {
    if (!URL.canParse(at) || new URL(at).protocol !== 'https:') {
      throw new AcmeError(
        'refused',
        `the authority names a URL that is not https: ${fitToShow(at)}`,
      );
    }
    const { transport, clock } = this.#options;
    const limit = deadline(clock, answerWithinMs, `${method} ${at}`, signal);
    let answer: AcmeAnswer;
    try {
      answer = await transport(method, at, body, limit.signal);
    } catch (error) {
      signal.throwIfAborted();
      this.#directory = undefined;
      const { host } = new URL(at);
      const why = fitToShow(asError(error).message);
      throw new AcmeError('away', `${host} does not answer: ${why}`, { cause: error });
    } finally {
      limit.dispose();
    }
    const nonce = answer.headers['replay-nonce'];
    if (nonce !== undefined && /^[A-Za-z0-9_-]{1,512}$/.test(nonce)) {
      this.#nonces.push(nonce);
      if (this.#nonces.length > mostNonces) this.#nonces.shift();
    }
    return answer;
  }
}

function encode(text: string): string {
  return Buffer.from(text).toString('base64url');
}

function parse<T>(schema: z.ZodType<T>, body: string): T {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    throw new AcmeError('away', 'what answers does not speak ACME: its answer is not JSON');
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const { path = [], message = '' } = parsed.error.issues[0] ?? {};
  throw new AcmeError('away', `what answers does not speak ACME: ${path.join('.')}: ${message}`);
}

function hasContact(body: string, contact: readonly string[]): boolean {
  try {
    const { contact: present } = z
      .looseObject({ contact: z.array(z.string()).default([]) })
      .parse(JSON.parse(body));
    return contact.every((each) => present.includes(each)) && present.length === contact.length;
  } catch {
    return true;
  }
}
