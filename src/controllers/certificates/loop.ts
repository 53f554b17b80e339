import { serviceId, type ServiceIdentity } from '../../api/v1alpha1/names.ts';
import type { KubeClient } from '../../kube/client.ts';
import { KubeError } from '../../kube/errors.ts';
import { NotLeaderError } from '../../registry/leadership.ts';
import type { Revision, Store } from '../../registry/store.ts';
import { isAborted } from '../../runtime/aborted.ts';
import type { Clock } from '../../runtime/clock.ts';
import { asError } from '../../runtime/errors.ts';
import { linkSignals } from '../../runtime/linked-signal.ts';
import type { Task } from '../../runtime/supervise.ts';
import { Trigger } from '../../runtime/trigger.ts';
import type { Logger } from '../../telemetry/log.ts';
import { objectNameOf } from '../identity.ts';
import type { CertificateNews, CertificateWish } from '../routes/route-table.ts';
import { readAccount, type AcmeAccount } from './account.ts';
import { AcmeClient } from './acme-client.ts';
import { AcmeError } from './acme-error.ts';
import { CertificateBook } from './certificate-book.ts';
import { readCertificate, writeCertificate } from './certificate-secret.ts';
import { newsOf } from './news.ts';
import { obtainCertificate } from './obtain.ts';
import { afterFailure, dueAt, orderOf, planCertificates } from './plan.ts';
import { httpsTransport, type AcmeTransport } from './transport.ts';

/** Where certificates are obtained. */
export interface AcmeOptions {
  /** URL of the authority's directory. */
  readonly directory: string;
  /** Whom the authority may write to. */
  readonly email?: string;
  /** PEM of a root that the authority's own https is trusted by, beside those that are public. */
  readonly ca?: string;
}

export interface CertificateLoopOptions {
  readonly acme: AcmeOptions;
  readonly store: Store;
  /** Throws while this operator does not lead. */
  readonly epoch: () => Revision;
  readonly client: Pick<KubeClient, 'list' | 'create' | 'update'>;
  /** The operator's own, for the account. */
  readonly namespace: string;
  /** The certificates that are asked for. */
  readonly wishes: () => Iterable<CertificateWish>;
  readonly identityOf: (service: string) => ServiceIdentity | undefined;
  /** Hosts with a router that are there. */
  readonly routerHosts: () => Iterable<string>;
  /** There is something else to say about the certificate of a host. */
  readonly newsChanged: (host: string) => void;
  readonly announce: (
    service: string,
    type: 'Normal' | 'Warning',
    reason: 'CertificateObtained' | 'CertificateFailed',
    message: string,
  ) => void;
  readonly clock: Clock;
  readonly log: Logger;
  readonly random: () => number;
  /** Default: https. */
  readonly transport?: AcmeTransport;
}

/** Routers that have not said so after this long are not waited for: one of them may be stuck, and the authority asks only some. */
const answersWithinMs = 30_000;
/** A registry or an operator's own mistake is not held against the host; it is tried again after so long. */
const againMs = 10_000;
/** Everything is looked at this often: a machine's clock may be set. */
const lookMs = 600_000;
/** A Secret that was written is seen by the watch within this, as a rule. */
const seenWithinMs = 10_000;
const firstPauseMs = 5_000;
const longestPauseMs = 600_000;

/**
 * Obtains certificates and renews them, while this operator leads. Each host's order goes on by itself, a few at a time. What
 * must outlive the operator is in the registry: the order and when to try again. An authority that does not answer is left alone for
 * growing pauses, whoever is waiting.
 */
export class CertificateLoop {
  readonly name = 'certificate loop';
  readonly #options: CertificateLoopOptions;
  readonly #book: CertificateBook;
  readonly #transport: AcmeTransport;
  readonly #trigger = new Trigger();
  /** Hosts that are worked on. */
  readonly #running = new Map<string, { readonly stop: AbortController; done: Promise<void> }>();
  /** Hosts that are let be until then, though they look as if there were something to do; monotonic. */
  readonly #rests = new Map<string, number>();
  #account: AcmeAccount | undefined;
  #client: AcmeClient | undefined;
  #pauses = 0;
  /** Monotonic. */
  #pausedUntil = 0;

  constructor(options: CertificateLoopOptions) {
    this.#options = options;
    this.#transport = options.transport ?? httpsTransport(options.acme.ca);
    this.#book = new CertificateBook({
      ...options,
      onChange: () => {
        this.changed();
      },
    });
  }

  watches(): Task[] {
    return this.#book.tasks();
  }

  whenSynced(signal: AbortSignal): Promise<void> {
    return this.#book.whenSynced(signal);
  }

  /** Other certificates may be asked for, or there, or routers have come or gone. Cheap. */
  changed(): void {
    this.#trigger.fire();
  }

  /** What there is to say about a host's certificate. */
  news(host: string): CertificateNews {
    const { directory } = this.#options.acme;
    const order = orderOf(this.#book.order(host), directory);
    return newsOf(host, directory, order, this.#hasRouters());
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    await this.#book.catchUp(signal);
    try {
      while (!signal.aborted) {
        this.#trigger.clear();
        const waitMs = await this.#pass(signal);
        if (isAborted(signal)) return;
        await this.#trigger.wait(clock, waitMs, signal);
      }
    } finally {
      const running = [...this.#running.values()];
      for (const { stop } of running) stop.abort(new Error('the loop is over'));
      await Promise.all(running.map(({ done }) => done));
    }
  }

  /** @returns when to look again, milliseconds from now */
  async #pass(signal: AbortSignal): Promise<number> {
    const { acme, clock, wishes } = this.#options;
    const monotonic = clock.monotonic();
    for (const [host, until] of this.#rests) if (until <= monotonic) this.#rests.delete(host);
    const nowMs = clock.now();
    const asked = [...wishes()];
    for (const { host, certificate } of asked) {
      // Now it is seen.
      if (dueAt(certificate, acme.directory) > nowMs) this.#rests.delete(host);
    }
    const plan = planCertificates({
      ...{ nowMs, directory: acme.directory },
      wishes: asked.filter(({ host }) => !this.#rests.has(host) || this.#running.has(host)),
      orders: this.#orders(),
      challenges: this.#book.challenges(),
      running: new Set(this.#running.keys()),
      pausedUntilMs: nowMs + this.#pausedUntil - monotonic,
      routers: this.#hasRouters(),
    });
    for (const host of plan.stop) this.#running.get(host)?.stop.abort(new Error('not asked for'));
    for (const wish of plan.start) this.#start(wish, signal);
    await this.#book.forget(plan.forgetOrders, plan.forgetChallenges, signal);
    const rests = [...this.#rests.values()].map((until) => until - monotonic);
    return Math.max(50, Math.min(lookMs, (plan.nextAtMs ?? Infinity) - nowMs, ...rests));
  }

  /** Those of hosts that rest stay as they are. */
  #orders(): ReturnType<CertificateBook['orders']> {
    const orders = this.#book.orders();
    for (const host of this.#rests.keys()) orders.delete(host);
    return orders;
  }

  #hasRouters(): boolean {
    const [first] = this.#options.routerHosts();
    return first !== undefined;
  }

  #start(wish: CertificateWish, signal: AbortSignal): void {
    const { host } = wish;
    const stop = new AbortController();
    const either = linkSignals(signal, stop.signal);
    const done = this.#work(wish, either.signal).finally(() => {
      either.unlink();
      this.#running.delete(host);
      this.changed();
      this.#options.newsChanged(host);
    });
    this.#running.set(host, { stop, done });
  }

  /** Never rejects. */
  async #work(wish: CertificateWish, signal: AbortSignal): Promise<void> {
    const { log } = this.#options;
    const { host } = wish;
    try {
      await this.#obtain(wish, signal);
      this.#pauses = 0;
    } catch (thrown) {
      if (signal.aborted) return;
      const error = asError(thrown);
      this.#rest(host, againMs);
      if (error instanceof NotLeaderError) return;
      const failure = failureOf(error);
      if (failure === undefined) {
        log.warn({ err: error, host }, 'cannot obtain a certificate now; trying again');
        return;
      }
      await this.#fail(wish, failure, signal).catch((again: unknown) => {
        if (!isAborted(signal)) {
          log.warn({ err: asError(again), host }, 'cannot write down that a certificate failed');
        }
      });
      if (this.#book.order(host)?.retryAt !== undefined) this.#rests.delete(host);
    }
  }

  async #obtain(wish: CertificateWish, signal: AbortSignal): Promise<void> {
    const { acme, client, clock, log, identityOf, announce } = this.#options;
    const { host, secret, service } = wish;
    const identity = identityOf(service);
    if (identity === undefined) return;
    const { namespace } = identity;
    const place = { host, namespace, secret };
    const kept = await readCertificate(client, place, signal);
    // What the watch has shown may be old: nothing is ordered that is there.
    if (dueAt(kept.certificate, acme.directory) <= clock.now()) {
      const account = await this.#readAccount(signal);
      const before = orderOf(this.#book.order(host), acme.directory);
      log.info({ host, order: before?.order }, 'obtaining a certificate');
      const obtained = await obtainCertificate(
        host,
        before?.order,
        {
          ...{ acme: this.#acme(account), seed: account.seed, clock },
          placed: (order, until) =>
            this.#book.putOrder(
              host,
              { failures: 0, outages: 0, ...before, directory: acme.directory, order },
              until,
            ),
          challenge: (token, answer, until) => this.#challenge(host, token, answer, until),
        },
        signal,
      );
      await this.#book.assertLeads(signal);
      const from = { directory: acme.directory, service: objectNameOf(identity) };
      await writeCertificate(client, place, kept, obtained, from, signal);
      const what = kept.certificate === undefined ? 'a certificate' : 'a new certificate';
      log.info({ host, service: serviceId(identity) }, 'certificate obtained');
      announce(
        service,
        'Normal',
        'CertificateObtained',
        `${host} has ${what}, in Secret ${secret}`,
      );
    }
    await this.#book.forget([host], [], signal);
    this.#rest(host, seenWithinMs);
  }

  /** Has all routers that are there answer. */
  async #challenge(
    host: string,
    token: string,
    keyAuthorization: string,
    signal: AbortSignal,
  ): Promise<void> {
    const { clock, log, routerHosts } = this.#options;
    await this.#book.putChallenge(token, { host, keyAuthorization }, signal);
    const end = clock.monotonic() + answersWithinMs;
    const pauses = new Trigger();
    for (;;) {
      const silent = [...routerHosts()].filter((each) => !this.#book.answers(each, token));
      if (silent.length === 0) return;
      if (clock.monotonic() >= end) {
        log.warn({ host, routers: silent }, 'routers do not answer a challenge; going on');
        return;
      }
      await pauses.wait(clock, 100, signal);
      signal.throwIfAborted();
    }
  }

  async #fail(wish: CertificateWish, failure: AcmeError, signal: AbortSignal): Promise<void> {
    const { acme, clock, random, log, announce } = this.#options;
    const { host, service } = wish;
    const nowMs = clock.now();
    const before = orderOf(this.#book.order(host), acme.directory);
    if (!(failure.cause instanceof KubeError)) this.#pause(failure);
    const at = { directory: acme.directory, order: before?.order, nowMs };
    const record = afterFailure(before, failure, at, random());
    const { retryAt, problem } = record;
    log.warn({ host, problem, retryAt, kind: failure.kind }, 'no certificate');
    announce(service, 'Warning', 'CertificateFailed', `${host}: ${failure.message}`);
    await this.#book.putOrder(host, record, signal);
  }

  /** Leaves an authority alone that does not answer, or has had enough. Limits of single hosts may last for days: they are theirs. */
  #pause({ kind, retryAfterMs = 0 }: AcmeError): void {
    if (kind === 'refused') this.#pauses = 0;
    else {
      const pauseMs = Math.max(firstPauseMs * 2 ** this.#pauses++, retryAfterMs);
      this.#pausedUntil = this.#options.clock.monotonic() + Math.min(longestPauseMs, pauseMs);
    }
  }

  /** @throws {AcmeError} */
  async #readAccount(signal: AbortSignal): Promise<AcmeAccount> {
    const { client, namespace } = this.#options;
    this.#account ??= await readAccount(client, namespace, signal);
    return this.#account;
  }

  #acme({ key }: AcmeAccount): AcmeClient {
    const { acme, clock } = this.#options;
    this.#client ??= new AcmeClient({
      ...{ directory: acme.directory, email: acme.email, key, clock },
      transport: this.#transport,
    });
    return this.#client;
  }

  #rest(host: string, ms: number): void {
    this.#rests.set(host, this.#options.clock.monotonic() + ms);
  }
}

/** What is held against the host, or its authority; undefined: neither can help it. */
function failureOf(error: Error): AcmeError | undefined {
  if (error instanceof AcmeError) return error;
  if (!(error instanceof KubeError)) return undefined;
  const { message, retryAfterMs } = error;
  const more = { retryAfterMs, cause: error };
  return new AcmeError('away', `Secrets cannot be read or written: ${message}`, more);
}
