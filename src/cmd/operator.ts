import { Command, Option } from 'commander';
import {
  addEtcdFlags,
  addLogFlags,
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
    const [{ withStore }, { serveAsOperator }, { KubeConfig }] = await Promise.all([
      import('./with-store.ts'),
      import('./serve-operator.ts'),
      import('../kube/config.ts'),
    ]);
    const insecure = { insecureLoopback: flags.insecure === true };
    const config =
      flags.kubeconfig === undefined
        ? KubeConfig.fromDefault(insecure)
        : KubeConfig.fromFile(flags.kubeconfig, insecure);
    const health =
      flags.healthPort === undefined
        ? {}
        : { health: { host: flags.healthAddress, port: flags.healthPort } };
    const { namespace, leaseTtl: hostTtlMs } = flags;
    try {
      await runUntilSignal(log, (signal) =>
        withStore(flags, log, (store) =>
          serveAsOperator({ config, store, log, hostTtlMs, namespace, ...health }, signal),
        ),
      );
    } finally {
      await config.close();
    }
  });
}
