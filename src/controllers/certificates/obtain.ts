import { createPrivateKey, X509Certificate } from 'node:crypto';
import { safeKeyAuthorization, safeToken } from '../../network/haproxy/words.ts';
import { sleep, type Clock } from '../../runtime/clock.ts';
import type { AcmeClient, Authorization, Order, Told } from './acme-client.ts';
import { AcmeError, problemOf } from './acme-error.ts';
import { certificateKey, certificateRequest } from './certificate-key.ts';

/** What obtaining a certificate needs of the world. All reject when `signal` aborts. */
export interface ObtainDeps {
  readonly acme: AcmeClient;
  readonly seed: Uint8Array;
  /** Writes down the URL of the order, so that whoever comes after goes on with it. */
  readonly placed: (order: string, signal: AbortSignal) => Promise<void>;
  /** Has the routers answer, and resolves when they do, or when it is no use to wait any longer. */
  readonly challenge: (
    token: string,
    keyAuthorization: string,
    signal: AbortSignal,
  ) => Promise<void>;
  readonly clock: Clock;
}

/** A certificate with those between it and a root, and its key; PEM. */
export interface Obtained {
  readonly chain: string;
  readonly key: string;
}

const firstPauseMs = 500;
const longestPauseMs = 10_000;
/** An authority that takes longer is gone on with another time. */
const patienceMs = 120_000;

/**
 * Obtains a certificate for a host by HTTP-01. Each step looks at how things stand with the authority, so that an order
 * that was begun earlier, by whomever, is gone on with from where it is. Rejects with AcmeError.
 *
 * @param begun URL of an order that was placed earlier
 */
export async function obtainCertificate(
  host: string,
  begun: string | undefined,
  deps: ObtainDeps,
  signal: AbortSignal,
): Promise<Obtained> {
  const { acme, clock } = deps;
  let at = begun;
  let order = at === undefined ? undefined : await standing(acme, at, signal);
  if (at === undefined || order === undefined) {
    at = await acme.placeOrder(host, signal);
    await deps.placed(at, signal);
    order = (await acme.order(at, signal)).value;
  }
  const url = at;
  const look = (): Promise<Told<Order>> => acme.order(url, signal);
  if (order.status === 'pending') {
    for (const each of order.authorizations) await authorize(host, each, deps, signal);
    order = await poll(look, ({ status }) => status !== 'pending', clock, signal);
  }
  const key = certificateKey(deps.seed, url);
  if (order.status === 'ready') {
    await acme.finalize(order.finalize, await certificateRequest(host, key), signal);
    // Boulder says "ready" for a moment more.
    order = await poll(
      look,
      ({ status }) => status === 'valid' || status === 'invalid',
      clock,
      signal,
    );
  } else if (order.status === 'processing') {
    order = await poll(look, ({ status }) => status !== 'processing', clock, signal);
  }
  if (order.status !== 'valid' || order.certificate === undefined) {
    const why = problemOf(order.error).detail ?? `the order is ${order.status}`;
    throw new AcmeError('refused', why);
  }
  const chain = await acme.certificate(order.certificate, signal);
  check(host, chain, key, clock.now());
  return { chain, key };
}

/** How an order of earlier stands; undefined: it leads nowhere any more, and another one is needed. */
async function standing(
  acme: AcmeClient,
  at: string,
  signal: AbortSignal,
): Promise<Order | undefined> {
  try {
    const { value } = await acme.order(at, signal);
    return value.status === 'invalid' ? undefined : value;
  } catch (error) {
    if (error instanceof AcmeError && error.kind === 'refused') return undefined;
    throw error;
  }
}

/** Shows the authority that the host is ours. */
async function authorize(
  host: string,
  at: string,
  deps: ObtainDeps,
  signal: AbortSignal,
): Promise<void> {
  const { acme, clock } = deps;
  const { value: first } = await acme.authorization(at, signal);
  if (first.identifier.type !== 'dns' || first.identifier.value !== host) {
    throw new AcmeError('refused', 'the authority asks for another name than the one ordered');
  }
  if (first.status === 'pending') {
    const challenge = httpChallenge(first);
    const token = challenge?.token;
    if (challenge === undefined || token === undefined) {
      throw new AcmeError('refused', 'the authority does not offer HTTP-01 for this name');
    }
    const answer = acme.keyAuthorization(token);
    if (safeToken(token) === undefined || safeKeyAuthorization(answer) === undefined) {
      throw new AcmeError('refused', 'the authority names a token that is none');
    }
    // An authority that was told to look may go on looking for a while, and for longer than the operator that told it.
    if (challenge.status === 'pending' || challenge.status === 'processing') {
      await deps.challenge(token, answer, signal);
    }
    if (challenge.status === 'pending') await acme.answered(challenge.url, signal);
  }
  const last = await poll(
    () => acme.authorization(at, signal),
    ({ status }) => status !== 'pending',
    clock,
    signal,
  );
  if (last.status === 'valid') return;
  const error = problemOf(httpChallenge(last)?.error).detail;
  throw new AcmeError('refused', error ?? `the authority's look at the host is ${last.status}`);
}

function httpChallenge({
  challenges,
}: Authorization): Authorization['challenges'][number] | undefined {
  return challenges.find(({ type }) => type === 'http-01');
}

/** Asks until the answer is `enough`. */
async function poll<T>(
  ask: () => Promise<Told<T>>,
  enough: (value: T) => boolean,
  clock: Clock,
  signal: AbortSignal,
): Promise<T> {
  const end = clock.monotonic() + patienceMs;
  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(longestPauseMs, pauseMs * 1.5)) {
    const { value, retryAfterMs = 0 } = await ask();
    if (enough(value)) return value;
    if (clock.monotonic() >= end) {
      throw new AcmeError('away', 'the authority takes its time; the order stands');
    }
    await sleep(clock, Math.max(pauseMs, Math.min(longestPauseMs, retryAfterMs)), signal);
  }
}

/** What the authority has issued is looked at before it replaces anything. */
function check(host: string, chain: string, key: string, nowMs: number): void {
  let leaf: X509Certificate;
  try {
    leaf = new X509Certificate(chain);
  } catch {
    throw new AcmeError('refused', 'the authority has issued something that is no certificate');
  }
  const fits = leaf.checkPrivateKey(createPrivateKey(key));
  if (!fits || leaf.checkHost(host) === undefined || Date.parse(leaf.validTo) <= nowMs) {
    throw new AcmeError('refused', 'the authority has issued a certificate that does not fit');
  }
}
