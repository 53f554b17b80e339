import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { hostExec } from '../agent/host/exec.ts';
import { findUnderlay } from '../agent/host/carrier/underlay.ts';
import { AuditBook } from '../agent/audit/audit-book.ts';
import { startAgent, type StartAgentOptions } from '../agent/start.ts';
import { isDnsLabel } from '../api/v1alpha1/names.ts';
import type { Store } from '../registry/store.ts';
import { systemClock } from '../runtime/clock.ts';
import type { HealthServer } from '../telemetry/health.ts';
import type { Logger } from '../telemetry/log.ts';
import type { AgentFlags } from './agent.ts';
import { UsageError } from './flags.ts';
import { version } from './version.ts';

export interface AgentParts {
  readonly store: Store;
  readonly log: Logger;
  /** Where health and metrics are served. */
  readonly health?: { readonly host: string; readonly port: number } | undefined;
}

/**
 * Runs an agent with the machine's own identity, where the flags do not say another, until `signal` aborts. SIGUSR2 has it audit its
 * network at once.
 */
export async function serveAsAgent(
  flags: AgentFlags,
  { store, log, health: place }: AgentParts,
  signal: AbortSignal,
): Promise<void> {
  const { address } = await findUnderlay(hostExec(), flags.address, signal);
  const audits = new AuditBook(systemClock);
  const request = (): void => {
    log.info('auditing the network, as SIGUSR2 asks');
    audits.request();
  };
  process.on('SIGUSR2', request);
  const health = place && (await serveHealth(place, audits, log));
  try {
    await runHere(flags, { store, log, audits, address }, signal);
  } finally {
    process.off('SIGUSR2', request);
    await health?.close();
  }
}

/** What an agent tells of itself. Loaded where it is asked for: most agents need no metrics in their memory. */
async function serveHealth(
  place: NonNullable<AgentParts['health']>,
  audits: AuditBook,
  log: Logger,
): Promise<HealthServer> {
  const [{ Metrics }, { startHealthServer }] = await Promise.all([
    import('../telemetry/metrics.ts'),
    import('../telemetry/health.ts'),
  ]);
  const metrics = new Metrics();
  metrics.counter({
    name: 'nap_audit_repairs_total',
    help: 'What audits of the network have found wrong and put right, by kind.',
    labelNames: ['kind'],
    collect() {
      this.reset();
      for (const [kind, count] of audits.counts) this.inc({ kind }, count);
    },
  });
  return startHealthServer({ ...place, log, metrics });
}

async function runHere(
  flags: AgentFlags,
  parts: Pick<StartAgentOptions, 'store' | 'log' | 'audits' | 'address'>,
  signal: AbortSignal,
): Promise<void> {
  await startAgent(
    {
      ...parts,
      hostName: flags.name ?? hostNameOf(hostname()),
      machineID: flags.machineId ?? (await machineId()),
      metadata: flags.metadata ?? {},
      version,
      leaseTtlMs: flags.leaseTtl,
      auditMs: flags.auditInterval,
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
