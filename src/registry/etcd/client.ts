import { setMaxListeners } from 'node:events';
import { InterceptingCall, type Interceptor } from '@grpc/grpc-js';
import { Etcd3, type IOptions } from 'etcd3';
import { sleep, type Clock } from '../../runtime/clock.ts';
import type { Logger } from '../../telemetry/log.ts';
import { StoreRefusedError, UnavailableError, type Revision } from '../store.ts';
import { resetOnlyWhatFailed } from './channel-reset.ts';
import { toStoreError } from './errors.ts';
import { linkSignals } from '../../runtime/linked-signal.ts';
import { MemberBreakers, noPolicy } from './member-breaker.ts';

export interface EtcdTlsMaterial {
  /** PEM. */
  readonly ca: Buffer | string;
  readonly cert: Buffer | string;
  readonly key: Buffer | string;
}

export interface EtcdOptions {
  /** Client URLs of all members: `https://10.0.0.1:2379`. All http or all https. */
  readonly hosts: readonly string[];
  /** Mutual TLS. Undefined: plain http. */
  readonly tls?: EtcdTlsMaterial | undefined;
  readonly clock: Clock;
  readonly log: Logger;
  /** Uniform in [0, 1). For jitter. */
  readonly random: () => number;
}

/** One unary attempt may take this long. */
const attemptMs = 5_000;
/** All attempts of one call together; with the last attempt a call ends within 15 s. */
const callBudgetMs = 10_000;
const firstBackoffMs = 25;
const maxBackoffMs = 1_000;

/**
 * gRPC settings. etcd enforces at least 5 s between pings (`--grpc-keepalive-min-time`), and ends a connection that is pinged
 * while nothing runs on it ("excess pings", whereupon grpc-js pings half as often): only calls and streams in flight are watched
 * over, which is all that can hang. Answers have no
 * size limit of ours: etcd limits what can be written. Channels share no connection, so a heartbeat never waits
 * behind a backlog of events, and a channel made anew does get a new connection.
 */
const channelOptions = {
  'grpc.keepalive_time_ms': 10_000,
  'grpc.keepalive_timeout_ms': 5_000,
  'grpc.keepalive_permit_without_calls': 0,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 1_000,
  'grpc.max_receive_message_length': -1,
  'grpc.max_send_message_length': -1,
  'grpc.use_local_subchannel_pool': 1,
};

/** Makes a member that has lost its quorum end the stream instead of keeping silent (clientv3.WithRequireLeader). */
const requireLeader: Interceptor = (options, nextCall) =>
  new InterceptingCall(nextCall(options), {
    start(metadata, listener, next) {
      metadata.set('hasleader', 'true');
      next(metadata, listener);
    },
  });

/**
 * Access to etcd's raw services. etcd3 gives transport, TLS and choice of member; repetition is ours, because only
 * the caller knows what may be repeated.
 */
export class EtcdClient {
  readonly clock: Clock;
  readonly log: Logger;
  readonly random: () => number;
  /** Aborts when the client is closed. */
  readonly closed: AbortSignal;
  readonly #etcd: Etcd3;
  readonly #closing = new AbortController();
  #seen: Revision = 0n;

  constructor(options: EtcdOptions) {
    checkHosts(options);
    this.clock = options.clock;
    this.log = options.log;
    this.random = options.random;
    this.closed = this.#closing.signal;
    // Every watch and call in flight listens to it.
    setMaxListeners(0, this.closed);
    try {
      this.#etcd = new Etcd3(etcdOptions(options));
    } catch (error) {
      throw new StoreRefusedError(`etcd TLS material is unusable: ${String(error)}`, {
        cause: error,
      });
    }
    resetOnlyWhatFailed(this.#etcd);
  }

  get kv(): Etcd3['kv'] {
    return this.#etcd.kv;
  }

  get leases(): Etcd3['leaseClient'] {
    return this.#etcd.leaseClient;
  }

  get watches(): Etcd3['watchClient'] {
    return this.#etcd.watchClient;
  }

  get maintenance(): Etcd3['maintenance'] {
    return this.#etcd.maintenance;
  }

  /** The highest revision that any answer has mentioned. */
  get seenRevision(): Revision {
    return this.#seen;
  }

  /** Takes note of the revision in an answer's header. */
  note(header: { revision: string }): Revision {
    const revision = BigInt(header.revision);
    if (revision > this.#seen) this.#seen = revision;
    return revision;
  }

  /** One attempt of a unary call, with errors translated. Rejects early when `signal` aborts. */
  async once<T>(call: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    this.closed.throwIfAborted();
    signal?.throwIfAborted();
    return await abortable(
      call().catch((error: unknown) => {
        this.closed.throwIfAborted();
        throw toStoreError(error);
      }),
      this.closed,
      signal,
    );
  }

  /**
   * Repeats a call that is safe to repeat until it is answered, at most about 15 s.
   * Rejects with UnavailableError then, at once with what cannot be retried.
   */
  async repeat<T>(call: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const start = this.clock.monotonic();
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.once(call, signal);
      } catch (error) {
        if (!(error instanceof UnavailableError)) throw error;
        const delay = this.backoff(attempt);
        if (this.clock.monotonic() - start + delay >= callBudgetMs) throw error;
        await this.pause(delay, signal);
      }
    }
  }

  /** Exponential, with full jitter on the upper half. */
  backoff(attempt: number, capMs = maxBackoffMs): number {
    const ceiling = Math.min(capMs, firstBackoffMs * 2 ** Math.min(attempt, 20));
    return ceiling / 2 + (ceiling / 2) * this.random();
  }

  /** Sleeps; rejects when `signal` aborts or the client is closed. */
  async pause(ms: number, signal?: AbortSignal): Promise<void> {
    const either = linkSignals(this.closed, signal);
    try {
      await sleep(this.clock, ms, either.signal);
    } finally {
      either.unlink();
    }
  }

  close(): void {
    if (this.closed.aborted) return;
    this.#closing.abort(new StoreRefusedError('the store is closed'));
    this.#etcd.close();
  }
}

function etcdOptions(options: EtcdOptions): IOptions {
  const { tls } = options;
  const breakers = new MemberBreakers(options.clock);
  return {
    hosts: [...options.hosts],
    ...(tls === undefined
      ? {}
      : {
          credentials: {
            rootCertificate: Buffer.from(tls.ca),
            certChain: Buffer.from(tls.cert),
            privateKey: Buffer.from(tls.key),
          },
        }),
    grpcOptions: channelOptions,
    defaultCallOptions: ({ isStream }) =>
      isStream
        ? { interceptors: [requireLeader] }
        : { deadline: Date.now() + attemptMs, interceptors: [requireLeader] },
    faultHandling: {
      global: noPolicy(),
      host: () => breakers.add(),
    },
  };
}

function checkHosts({ hosts, tls }: EtcdOptions): void {
  if (hosts.length === 0) throw new StoreRefusedError('no etcd host is given');
  const scheme = tls === undefined ? 'http:' : 'https:';
  for (const host of hosts) {
    if (!URL.canParse(host) || new URL(host).protocol !== scheme) {
      throw new StoreRefusedError(`etcd host "${host}" must be a URL that starts with ${scheme}//`);
    }
  }
}

/** `promise`, or the reason of the first signal that aborts. */
function abortable<T>(
  promise: Promise<T>,
  ...signals: readonly (AbortSignal | undefined)[]
): Promise<T> {
  const either = linkSignals(...signals);
  const aborted = new Promise<never>((_resolve, reject) => {
    either.signal.addEventListener('abort', () => {
      const reason: unknown = either.signal.reason;
      reject(reason instanceof Error ? reason : new Error('aborted'));
    });
  });
  return Promise.race([promise, aborted]).finally(either.unlink);
}
