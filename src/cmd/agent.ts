import { Command, InvalidArgumentError, Option } from 'commander';
import { isDnsLabel } from '../api/v1alpha1/names.ts';
import {
  addEtcdFlags,
  addHealthFlags,
  addLogFlags,
  ipv4,
  keyValues,
  loggerFor,
  seconds,
  type EtcdFlags,
  type HealthFlags,
  type LogFlags,
} from './flags.ts';
import { runUntilSignal } from './signals.ts';

export interface AgentFlags {
  readonly name?: string;
  readonly address?: string;
  readonly machineId?: string;
  readonly metadata?: Record<string, string>;
  readonly docker: string;
  readonly leaseTtl: number;
  readonly auditInterval: number;
}

/** The agent's own flags, shared with `nap up`. */
export function addAgentFlags(command: Command): Command {
  return command
    .option(
      '--name <host>',
      "name of this host in the cluster (default: the machine's hostname)",
      hostName,
    )
    .option(
      '--address <ipv4>',
      "address by which the other hosts reach this one (default: the default route's)",
      ipv4,
    )
    .option('--machine-id <id>', 'identity of this machine (default: /etc/machine-id)')
    .option('--metadata <key=value,…>', 'labels of this host, for placement rules', keyValues)
    .addOption(
      new Option('--docker <socket>', "the Docker engine's unix socket").default(
        '/var/run/docker.sock',
      ),
    )
    .addOption(
      new Option('--lease-ttl <seconds>', 'this host is taken for dead after so long a silence')
        .argParser(seconds(2))
        .default(5_000, '5'),
    )
    .addOption(
      new Option(
        '--audit-interval <seconds>',
        "this host's network is compared with the registry so often, and put right; SIGUSR2 asks for it at once",
      )
        .argParser(seconds(1))
        .default(30_000, '30'),
    );
}

/** `nap agent` */
export function agentCommand(): Command {
  const command = new Command('agent')
    .summary('run the agent of this Docker host')
    .description(
      'Runs what the operator places on this host: joins the overlay network, runs containers, answers names.\n' +
        'Stopping the agent leaves containers running.',
    )
    .addHelpText(
      'after',
      `
Example:
  nap agent --etcd https://10.0.0.1:2379 --etcd-ca ca.crt --etcd-cert agent.crt --etcd-key agent.key \\
            --metadata region=eu-west-1,disk=ssd`,
    );
  addLogFlags(addEtcdFlags(addHealthFlags(addAgentFlags(command))));
  return command.action(async (flags: AgentFlags & HealthFlags & EtcdFlags & LogFlags) => {
    const log = loggerFor(flags);
    // What a command runs is loaded when it runs: an agent has no need of the API server in its memory.
    const [{ withHealth }, { withStore }, { serveAsAgent }] = await Promise.all([
      import('./with-health.ts'),
      import('./with-store.ts'),
      import('./serve-agent.ts'),
    ]);
    await runUntilSignal(log, (signal) =>
      withHealth(flags, log, ['agent'], (health) =>
        withStore(flags, log, (store) => serveAsAgent(flags, { store, log, health }, signal)),
      ),
    );
  });
}

function hostName(text: string): string {
  if (!isDnsLabel(text)) {
    throw new InvalidArgumentError(
      `"${text}" is not a host name: small letters, digits and "-", at most 63 characters.`,
    );
  }
  return text;
}
