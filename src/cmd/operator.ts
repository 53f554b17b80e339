import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { Command, Option } from 'commander';
import { runOperator, type OperatorState } from '../controllers/operator.ts';
import { KubeClient } from '../kube/client.ts';
import { KubeConfig } from '../kube/config.ts';
import { EventRecorder } from '../kube/events.ts';
import { openEtcdStore } from '../registry/etcd/store.ts';
import type { Store } from '../registry/store.ts';
import { systemClock } from '../runtime/clock.ts';
import { startHealthServer } from '../telemetry/health.ts';
import type { Logger } from '../telemetry/log.ts';
import { Metrics } from '../telemetry/metrics.ts';
import {
  addEtcdFlags,
  addLogFlags,
  etcdConnection,
  loggerFor,
  portNumber,
  seconds,
  type EtcdFlags,
  type LogFlags,
} from './flags.ts';
import { runUntilSignal } from './signals.ts';

interface OperatorFlags {
  readonly kubeconfig?: string;
  readonly leaseTtl: number;
  readonly healthPort?: number;
  readonly healthAddress: string;
  readonly namespace: string;
}

/** `nap operator` */
export function operatorCommand(): Command {
  const command = new Command('operator')
    .summary('run the operator')
    .description(
      'Makes placements of Projects: watches the Kubernetes API, writes decisions to etcd. Several may run; one leads.',
    )
    .addOption(
      new Option(
        '--kubeconfig <file>',
        'how to reach the API (default: as kubectl, or the pod’s own)',
      ).env('KUBECONFIG'),
    )
    .option('--namespace <name>', 'namespace of the leader election Lease', 'nap-system')
    .addOption(
      new Option('--lease-ttl <seconds>', "the agents' --lease-ttl")
        .argParser(seconds(2))
        .default(5_000, '5'),
    )
    .option('--health-port <port>', 'serve /healthz, /readyz and /metrics on this port', portNumber)
    .option('--health-address <address>', 'address for --health-port', '127.0.0.1');
  addLogFlags(addEtcdFlags(command));
  return command.action(async (flags: OperatorFlags & EtcdFlags & LogFlags) => {
    const log = loggerFor(flags);
    const connection = await etcdConnection(flags);
    const insecure = { insecureLoopback: flags.insecure === true };
    const config =
      flags.kubeconfig === undefined
        ? KubeConfig.fromDefault(insecure)
        : KubeConfig.fromFile(flags.kubeconfig, insecure);
    await runUntilSignal(log, async (signal) => {
      const store = await openEtcdStore({
        ...connection,
        clock: systemClock,
        log,
        random: Math.random,
      });
      try {
        await serveAsOperator(
          {
            config,
            store,
            log,
            hostTtlMs: flags.leaseTtl,
            namespace: flags.namespace,
            ...(flags.healthPort === undefined
              ? {}
              : { health: { host: flags.healthAddress, port: flags.healthPort } }),
          },
          signal,
        );
      } finally {
        await config.close();
        await store.close();
      }
    });
  });
}

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
