import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { hostExec } from '../agent/host/exec.ts';
import { findUnderlay } from '../agent/host/carrier/underlay.ts';
import type { AgentState } from '../agent/agent.ts';
import { AuditBook } from '../agent/audit/audit-book.ts';
import { startAgent, type StartAgentOptions } from '../agent/start.ts';
import { isDnsLabel } from '../api/v1alpha1/names.ts';
import type { Store } from '../registry/store.ts';
import { systemClock } from '../runtime/clock.ts';
import type { HealthPart, HealthServer } from '../telemetry/health.ts';
import type { Logger } from '../telemetry/log.ts';
import type { AgentFlags } from './agent-flags.ts';
import { UsageError } from './flags.ts';
import { version } from './version.ts';

export interface AgentParts {
  readonly store: Store;
  readonly log: Logger;
  /** Where it tells of itself. */
  readonly health?: HealthServer | undefined;
}

/**
 * Runs an agent with the machine's own identity, where the flags do not say another, until `signal` aborts. SIGUSR2 has it audit its
 * network at once.
 */
export async function serveAsAgent(
  flags: AgentFlags,
  { store, log, health }: AgentParts,
  signal: AbortSignal,
): Promise<void> {
  const { address } = await findUnderlay(hostExec(), flags.address, signal);
  const audits = new AuditBook(systemClock);
  const request = (): void => {
    log.info('auditing the network, as SIGUSR2 asks');
    audits.request();
  };
  process.on('SIGUSR2', request);
  const state: AgentState = { hindrances: () => ['not started yet'] };
  const ended = health?.runs('agent', await healthPart(audits, state));
  try {
    await runHere(flags, { store, log, audits, address }, state, signal);
  } finally {
    process.off('SIGUSR2', request);
    ended?.();
  }
}

/** What an agent tells of itself. Loaded where it is asked for: most agents need no metrics in their memory. */
async function healthPart(audits: AuditBook, state: AgentState): Promise<HealthPart> {
  const { Metrics } = await import('../telemetry/metrics.ts');
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
  const check = (): void => {
    const hindrances = state.hindrances();
    if (hindrances.length > 0) throw new Error(hindrances.join('; '));
  };
  return { metrics, ready: [{ name: 'host', check }] };
}

async function runHere(
  flags: AgentFlags,
  parts: Pick<StartAgentOptions, 'store' | 'log' | 'audits' | 'address'>,
  state: AgentState,
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
    state,
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
