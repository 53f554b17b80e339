import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { hostExec } from '../agent/host/exec.ts';
import { findUnderlay } from '../agent/host/underlay.ts';
import { startAgent } from '../agent/start.ts';
import { isDnsLabel } from '../api/v1alpha1/names.ts';
import type { Store } from '../registry/store.ts';
import type { Logger } from '../telemetry/log.ts';
import type { AgentFlags } from './agent.ts';
import { UsageError } from './flags.ts';
import { version } from './version.ts';

/** Runs an agent with the machine's own identity, where the flags do not say another, until `signal` aborts. */
export async function serveAsAgent(
  flags: AgentFlags,
  store: Store,
  log: Logger,
  signal: AbortSignal,
): Promise<void> {
  const { address } = await findUnderlay(hostExec(), flags.address, signal);
  await startAgent(
    {
      store,
      log,
      hostName: flags.name ?? hostNameOf(hostname()),
      machineID: flags.machineId ?? (await machineId()),
      address,
      metadata: flags.metadata ?? {},
      version,
      leaseTtlMs: flags.leaseTtl,
      engineSocket: flags.docker,
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
  if (!isDnsLabel(label)) {
    throw new UsageError(`the hostname "${name}" cannot name a host; choose one with --name`);
  }
  return label;
}
