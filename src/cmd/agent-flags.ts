import { InvalidArgumentError, Option, type Command } from 'commander';
import { isDnsLabel } from '../api/v1alpha1/names.ts';
import { ipv4, keyValues, seconds } from './flags.ts';

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

function hostName(text: string): string {
  if (!isDnsLabel(text)) {
    throw new InvalidArgumentError(
      `"${text}" is not a host name: small letters, digits and "-", at most 63 characters.`,
    );
  }
  return text;
}
