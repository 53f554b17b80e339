import type { KubeClient } from '../kube/client.ts';
import type { EventRecorder } from '../kube/events.ts';
import { LeaseElector, type LeaseElectorOptions } from '../kube/lease-elector.ts';
import type { ReflectorObserver } from '../kube/reflector.ts';
import { claimLeadership } from '../registry/leadership.ts';
import type { Store } from '../registry/store.ts';
import { Backoff } from '../runtime/backoff.ts';
import { sleep, type Clock } from '../runtime/clock.ts';
import type { ControllerObserver } from '../runtime/controller.ts';
import { asError } from '../runtime/errors.ts';
import type { Logger } from '../telemetry/log.ts';
import { Term } from './term.ts';

export interface OperatorOptions {
  /** Who we are; must differ between processes, also between two starts of one. */
  readonly identity: string;
  /** Where the Lease that operators contend for is. Default nap-system/nap-operator. */
  readonly lease?: Partial<
    Pick<
      LeaseElectorOptions,
      'namespace' | 'name' | 'leaseDurationMs' | 'renewDeadlineMs' | 'retryPeriodMs'
    >
  >;
  /** TTL of the claim in the registry, milliseconds. Default 10,000. */
  readonly claimTtlMs?: number;
  /** TTL of the agents' leases, milliseconds. Default 5,000. */
  readonly hostTtlMs?: number;
  /** How long a new instance has to serve before an update goes on, milliseconds. Default 2,000. */
  readonly updateMonitorMs?: number;
  /** Everything is looked at this often, milliseconds. Default 300,000. */
  readonly resyncMs?: number;
  /** How often it looks whether hosts could be made more equal, milliseconds. Default 10,000. */
  readonly rebalanceEveryMs?: number;
  /** While many hosts are lost at once: moves per second. Default 1. */
  readonly brakedMovesPerSecond?: number;
  /** How long the loss of a host counts as one of many at once, milliseconds. Default 60,000. */
  readonly massWindowMs?: number;
}

export interface OperatorDeps {
  readonly store: Store;
  readonly client: KubeClient;
  readonly events: Pick<EventRecorder, 'record'>;
  readonly clock: Clock;
  readonly log: Logger;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  /** Ids of new instances: unique, at least 8 characters. */
  readonly newId: () => string;
  /** Told about every pass of a controller. */
  readonly observer?: ControllerObserver;
  /** Told about the informers. */
  readonly reflector?: ReflectorObserver;
  /** Told about every pass of the placement loop. */
  readonly onPass?: (services: number, changes: number, durationMs: number) => void;
}

/** How an operator stands, for health checks. */
export interface OperatorState {
  /** It holds the Lease. */
  leading: boolean;
  /** It leads, its caches are filled, and its loops run. */
  deciding: boolean;
}

const termBackoff = { baseMs: 200, capMs: 5_000 };

/**
 * The operator: contends for the Lease; whoever holds it claims the epoch in the registry and decides, until either is
 * lost. Then all loops end, everything that was known is thrown away, and it contends again, in the same process: a
 * process may hold other parts (`nap up`), and a term that starts from nothing is as clean as a new process.
 *
 * A registry that cannot be reached does not cost the Lease: the next term begins when it can be reached again.
 * Resolves when `signal` aborts.
 */
export async function runOperator(
  options: OperatorOptions,
  deps: OperatorDeps,
  signal: AbortSignal,
  state: OperatorState = { leading: false, deciding: false },
): Promise<void> {
  const { clock, client } = deps;
  const log = deps.log.child({ operator: options.identity });
  const namespace = options.lease?.namespace ?? 'nap-system';
  const elector = new LeaseElector(client, {
    namespace,
    name: 'nap-operator',
    ...options.lease,
    identity: options.identity,
    log,
    clock,
    random: deps.random,
  });
  const lead = async (leading: AbortSignal): Promise<void> => {
    state.leading = true;
    try {
      await serveTerms(options, { ...deps, log }, state, leading);
    } finally {
      state.leading = false;
    }
  };
  let backoff = new Backoff(termBackoff);
  while (!signal.aborted) {
    try {
      await elector.run(lead, signal);
      backoff = backoff.reset();
    } catch (thrown) {
      // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- it may abort meanwhile
      if (signal.aborted) return;
      backoff = backoff.next();
      log.error({ err: asError(thrown) }, 'contending for the leadership failed; trying again');
      await sleep(clock, backoff.delayMs, signal).catch(() => undefined);
    }
  }
}

/** One term after the other, for as long as the Lease is held. */
async function serveTerms(
  options: OperatorOptions,
  deps: OperatorDeps,
  state: OperatorState,
  leading: AbortSignal,
): Promise<void> {
  const { clock, log } = deps;
  let backoff = new Backoff({ ...termBackoff, random: deps.random });
  while (!leading.aborted) {
    const startedAt = clock.monotonic();
    try {
      await serveTerm(options, deps, state, leading);
    } catch (thrown) {
      // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- it may abort meanwhile
      if (leading.aborted) return;
      if (clock.monotonic() - startedAt > 60_000) backoff = backoff.reset();
      backoff = backoff.next();
      log.warn(
        { err: asError(thrown), retryInMs: Math.round(backoff.delayMs) },
        'the term is over; beginning another one',
      );
      await sleep(clock, backoff.delayMs, leading).catch(() => undefined);
    }
  }
}

async function serveTerm(
  options: OperatorOptions,
  deps: OperatorDeps,
  state: OperatorState,
  leading: AbortSignal,
): Promise<void> {
  const { store, log, clock } = deps;
  const leadership = await claimLeadership(
    store,
    { operator: options.identity, since: new Date(clock.now()).toISOString() },
    { leaseTtlMs: options.claimTtlMs ?? 10_000, log },
    leading,
  );
  const term = new Term(options, deps, leadership, () => {
    state.deciding = true;
  });
  try {
    await term.run(leading);
  } finally {
    state.deciding = false;
    await leadership.resign();
  }
}
