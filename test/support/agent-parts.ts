import type { AgentDeps, AgentOptions, LocalNetwork } from '../../src/agent/options.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { silentLogger } from '../../src/telemetry/log.ts';

/** Host h1, with a short lease. */
export function agentOptions(over: Partial<AgentOptions> = {}): AgentOptions {
  const host = { hostName: 'h1', machineID: 'm1', address: '10.0.0.1' };
  return { ...host, version: 'test', leaseTtlMs: 2000, ...over };
}

/** What an agent works with where its overlay and name server do nothing. @param network the overlay as it stands */
export function agentParts(
  required: Pick<AgentDeps, 'store' | 'engine'>,
  over: Partial<AgentDeps> = {},
  network: () => Promise<LocalNetwork> = () =>
    Promise.resolve({ subnet: '10.77.1.0/24', gateway: '10.77.1.1', dockerOptions: {} }),
): AgentDeps {
  return {
    ...required,
    network: {
      ensure: () => network(),
      dockerNetworkStands: () => undefined,
      run: ended,
      problems: () => [],
      onProblems: () => undefined,
    },
    dns: { run: (_gateway, _local, signal) => ended(signal) },
    log: silentLogger,
    clock: systemClock,
    random: () => 0.5,
    machine: { cpus: 1, memoryBytes: 1, kernel: 'k' },
    ...over,
  };
}

/** Resolves when `signal` aborts. */
function ended(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => {
      resolve();
    });
  });
}
