import { readFile } from 'node:fs/promises';
import { cpus, hostname, release, totalmem } from 'node:os';
import { runAgent } from '../agent/agent.ts';
import { DnsService } from '../agent/dns/dns-service.ts';
import { DockerodeEngine } from '../agent/docker/dockerode-engine.ts';
import { hostExec } from '../agent/host/exec.ts';
import { NetworkManager } from '../agent/host/network-manager.ts';
import { findUnderlay } from '../agent/host/underlay.ts';
import type { Store } from '../registry/store.ts';
import { systemClock } from '../runtime/clock.ts';
import type { Logger } from '../telemetry/log.ts';
import { isHostName, type AgentFlags } from './agent.ts';
import { UsageError } from './flags.ts';
import { version } from './version.ts';

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
  if (!isHostName(label)) {
    throw new UsageError(`the hostname "${name}" cannot name a host; choose one with --name`);
  }
  return label;
}
