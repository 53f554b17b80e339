import { Command, Option } from 'commander';
import {
  acmeOptions,
  addEtcdFlags,
  addHealthFlags,
  addLogFlags,
  addRouterFlags,
  addVirtualRangeFlag,
  loggerFor,
  routerOptions,
  seconds,
  type EtcdFlags,
  type HealthFlags,
  type LogFlags,
  type RouterFlags,
  type VirtualRangeFlags,
} from './flags.ts';
import { runUntilSignal } from './signals.ts';

interface OperatorFlags extends RouterFlags, VirtualRangeFlags, HealthFlags {
  readonly kubeconfig?: string;
  readonly leaseTtl: number;
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
    .option('--namespace <name>', 'namespace of the Lease that says who leads', 'nap-system')
    .addOption(
      new Option('--lease-ttl <seconds>', "the agents' --lease-ttl")
        .argParser(seconds(2))
        .default(5_000, '5'),
    );
  addLogFlags(addEtcdFlags(addHealthFlags(addRouterFlags(addVirtualRangeFlag(command)))));
  return command.action(async (flags: OperatorFlags & EtcdFlags & LogFlags) => {
    const log = loggerFor(flags);
    const [{ withHealth }, { withStore }, { serveAsOperator }, { KubeConfig }] = await Promise.all([
      import('./with-health.ts'),
      import('./with-store.ts'),
      import('./serve-operator.ts'),
      import('../kube/config.ts'),
    ]);
    const insecure = { insecureLoopback: flags.insecure === true };
    const config =
      flags.kubeconfig === undefined
        ? KubeConfig.fromDefault(insecure)
        : KubeConfig.fromFile(flags.kubeconfig, insecure);
    const { namespace, leaseTtl: hostTtlMs, virtualIpRange: virtualRange } = flags;
    const router = routerOptions(flags);
    const acme = await acmeOptions(flags);
    try {
      await runUntilSignal(log, (signal) =>
        withHealth(flags, log, ['operator'], (health) =>
          withStore(flags, log, (store) =>
            serveAsOperator(
              { config, store, log, hostTtlMs, namespace, virtualRange, router, acme, health },
              signal,
            ),
          ),
        ),
      );
    } finally {
      await config.close();
    }
  });
}
