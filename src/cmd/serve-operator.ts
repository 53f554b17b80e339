import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { checkVirtualRange } from '../controllers/virtual-ip-book.ts';
import { runOperator, type OperatorState } from '../controllers/operator.ts';
import type { AcmeOptions } from '../controllers/certificates/loop.ts';
import type { RouterOptions } from '../controllers/routes/router-service.ts';
import { KubeClient } from '../kube/client.ts';
import type { KubeConfig } from '../kube/config.ts';
import { EventRecorder } from '../kube/events.ts';
import { parseVirtualRange, VirtualRangeError } from '../network/virtual-ip/virtual-range.ts';
import type { Store } from '../registry/store.ts';
import { systemClock } from '../runtime/clock.ts';
import { deadline } from '../runtime/deadline.ts';
import type { HealthServer } from '../telemetry/health.ts';
import type { Logger } from '../telemetry/log.ts';
import { Metrics } from '../telemetry/metrics.ts';
import { UsageError } from './flags.ts';

const rangeCheckMs = 5_000;

export interface OperatorParts {
  readonly config: KubeConfig;
  readonly store: Store;
  readonly log: Logger;
  readonly hostTtlMs: number;
  readonly namespace: string;
  /** Where virtual IPs come from, CIDR. */
  readonly virtualRange: string;
  readonly router?: RouterOptions | undefined;
  readonly acme?: AcmeOptions | undefined;
  /** Where it tells of itself. */
  readonly health?: HealthServer | undefined;
}

/** Runs an operator until `signal` aborts. */
export async function serveAsOperator(parts: OperatorParts, signal: AbortSignal): Promise<void> {
  const { log, store, config, virtualRange } = parts;
  await assertRange(store, virtualRange, log, signal);
  const clock = systemClock;
  const metrics = new Metrics();
  const client = new KubeClient(config, { clock });
  const identity = `${hostname()}-${randomUUID()}`;
  const events = new EventRecorder(client, {
    component: 'nap-operator',
    instance: identity,
    log,
    clock,
  });
  const state: OperatorState = { leading: false, deciding: false };
  metrics.gauge({
    name: 'nap_leader',
    help: '1 while this operator leads.',
    collect() {
      this.set(state.leading ? 1 : 0);
    },
  });
  const ended = parts.health?.runs('operator', {
    metrics,
    ready: [
      {
        name: 'registry',
        check: async (stop) => {
          await store.get('/nap/v1/leader', stop);
        },
      },
      {
        name: 'loops',
        check: () => {
          if (state.leading && !state.deciding) throw new Error('leading, but not deciding yet');
        },
      },
    ],
  });
  try {
    await runOperator(
      {
        identity,
        hostTtlMs: parts.hostTtlMs,
        virtualRange,
        namespace: parts.namespace,
        ...(parts.router === undefined ? {} : { router: parts.router }),
        ...(parts.acme === undefined ? {} : { acme: parts.acme }),
      },
      {
        store,
        client,
        events,
        clock,
        log,
        random: Math.random,
        newId: randomUUID,
        observer: metrics.controllerObserver(['project', 'service', 'host']),
        reflector: metrics.reflectorObserver([]),
      },
      signal,
      state,
    );
  } finally {
    await events.close();
    ended?.();
  }
}

/** A mistake in the flag is told to whoever made it. A registry that does not answer now is asked again by the leader. */
async function assertRange(
  store: Store,
  range: string,
  log: Logger,
  signal: AbortSignal,
): Promise<void> {
  const limit = deadline(systemClock, rangeCheckMs, 'the check of the range', signal);
  try {
    await checkVirtualRange(store, parseVirtualRange(range), limit.signal);
  } catch (error) {
    if (error instanceof VirtualRangeError) throw new UsageError(error.message);
    log.warn({ err: error }, 'cannot compare the range of virtual IPs with the overlay yet');
  } finally {
    limit.dispose();
  }
}
