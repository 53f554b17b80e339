import { readFile } from 'node:fs/promises';
import { cpus, hostname, release, totalmem } from 'node:os';
import { Command, InvalidArgumentError, Option } from 'commander';
import { runAgent } from '../agent/agent.ts';
import { DnsService } from '../agent/dns/dns-service.ts';
import { DockerodeEngine } from '../agent/docker/dockerode-engine.ts';
import { hostExec } from '../agent/host/exec.ts';
import { NetworkManager } from '../agent/host/network-manager.ts';
import { findUnderlay } from '../agent/host/underlay.ts';
import { openEtcdStore } from '../registry/etcd/store.ts';
import type { Store } from '../registry/store.ts';
import { systemClock } from '../runtime/clock.ts';
import type { Logger } from '../telemetry/log.ts';
import {
  addEtcdFlags,
  addLogFlags,
  etcdConnection,
  ipv4,
  keyValues,
  loggerFor,
  seconds,
  UsageError,
  type EtcdFlags,
  type LogFlags,
} from './flags.ts';
import { runUntilSignal } from './signals.ts';
import { version } from './version.ts';

export interface AgentFlags {
  readonly name?: string;
  readonly address?: string;
  readonly machineId?: string;
  readonly metadata?: Record<string, string>;
  readonly docker: string;
  readonly leaseTtl: number;
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
  addLogFlags(addEtcdFlags(addAgentFlags(command)));
  return command.action(async (flags: AgentFlags & EtcdFlags & LogFlags) => {
    const log = loggerFor(flags);
    const connection = await etcdConnection(flags);
    await runUntilSignal(log, async (signal) => {
      const store = await openEtcdStore({
        ...connection,
        clock: systemClock,
        log,
        random: Math.random,
      });
      try {
        await serveAsAgent(flags, store, log, signal);
      } finally {
        await store.close();
      }
    });
  });
}

/** Runs an agent with the machine's own parts until `signal` aborts. */
export async function serveAsAgent(
  flags: AgentFlags,
  store: Store,
  log: Logger,
  signal: AbortSignal,
): Promise<void> {
  const clock = systemClock;
  const hostName = flags.name ?? hostNameOf(hostname());
  const { address } = await findUnderlay(hostExec(), flags.address, signal);
  const network = new NetworkManager({ store, log, clock, address, random: Math.random });
  const dns = new DnsService({
    store,
    log,
    clock,
    overlay: () => network.current,
    readResolvConf: () => readFile('/etc/resolv.conf', 'utf8'),
  });
  await runAgent(
    {
      hostName,
      machineID: flags.machineId ?? (await machineId()),
      address,
      metadata: flags.metadata ?? {},
      version,
      leaseTtlMs: flags.leaseTtl,
      exclusive: `${hostName}@${flags.docker}`,
    },
    {
      store,
      engine: new DockerodeEngine({ socketPath: flags.docker }),
      network,
      dns,
      log,
      clock,
      random: Math.random,
      machine: { cpus: cpus().length, memoryBytes: totalmem(), kernel: release() },
    },
    signal,
  );
}

async function machineId(): Promise<string> {
  try {
    const id = (await readFile('/etc/machine-id', 'utf8')).trim();
    if (id !== '') return id;
  } catch {
    // Told below: missing and empty are one matter.
  }
  throw new UsageError('this machine has no /etc/machine-id; name it with --machine-id');
}

function hostNameOf(name: string): string {
  const label = name.split('.')[0]?.toLowerCase() ?? '';
  if (!isLabel(label)) {
    throw new UsageError(`the hostname "${name}" cannot name a host; choose one with --name`);
  }
  return label;
}

function hostName(text: string): string {
  if (!isLabel(text)) {
    throw new InvalidArgumentError(
      `"${text}" is not a host name: small letters, digits and "-", at most 63 characters.`,
    );
  }
  return text;
}

const isLabel = (text: string): boolean => /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(text);
