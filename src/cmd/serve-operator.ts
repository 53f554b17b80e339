import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { runOperator, type OperatorState } from '../controllers/operator.ts';
import { KubeClient } from '../kube/client.ts';
import type { KubeConfig } from '../kube/config.ts';
import { EventRecorder } from '../kube/events.ts';
import type { Store } from '../registry/store.ts';
import { systemClock } from '../runtime/clock.ts';
import { startHealthServer } from '../telemetry/health.ts';
import type { Logger } from '../telemetry/log.ts';
import { Metrics } from '../telemetry/metrics.ts';

export interface OperatorParts {
  readonly config: KubeConfig;
  readonly store: Store;
  readonly log: Logger;
  readonly hostTtlMs: number;
  readonly namespace: string;
  readonly health?: { readonly host: string; readonly port: number };
}

/** Runs an operator until `signal` aborts. */
export async function serveAsOperator(parts: OperatorParts, signal: AbortSignal): Promise<void> {
  const { log, store, config } = parts;
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
  const health =
    parts.health === undefined
      ? undefined
      : await startHealthServer({
          ...parts.health,
          log,
          clock,
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
                if (state.leading && !state.deciding)
                  throw new Error('leading, but not deciding yet');
              },
            },
          ],
        });
  try {
    await runOperator(
      { identity, hostTtlMs: parts.hostTtlMs, lease: { namespace: parts.namespace } },
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
    await health?.close();
  }
}
