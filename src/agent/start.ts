import { readFile } from 'node:fs/promises';
import { availableParallelism, release, totalmem, uptime } from 'node:os';
import type { Store } from '../registry/store.ts';
import { systemClock } from '../runtime/clock.ts';
import type { Logger } from '../telemetry/log.ts';
import { runAgent } from './agent.ts';
import { DnsService } from './dns/dns-service.ts';
import { DockerodeEngine } from './docker/dockerode-engine.ts';
import { NetworkManager } from './host/network-manager.ts';
import type { AgentOptions } from './options.ts';

export interface StartAgentOptions extends Omit<AgentOptions, 'exclusive'> {
  /** Not closed by the agent. */
  readonly store: Store;
  readonly log: Logger;
  /** Of the engine's unix socket. Default /var/run/docker.sock. */
  readonly engineSocket?: string;
}

const defaultEngineSocket = '/var/run/docker.sock';

/**
 * Runs the agent of this machine, with its real engine, overlay and name server, until `signal` aborts; see `runAgent`
 * for what it throws. Needs root.
 */
export async function startAgent(options: StartAgentOptions, signal: AbortSignal): Promise<void> {
  const { store, engineSocket = defaultEngineSocket, address } = options;
  const log = options.log.child({ host: options.hostName });
  const listeners: (() => void)[] = [];
  const manager = new NetworkManager({
    store,
    log,
    address,
    onProblem: () => {
      for (const listener of listeners) listener();
    },
  });
  const dns = new DnsService({
    store,
    log,
    overlay: () => manager.current,
    readResolvConf: () => readFile('/etc/resolv.conf', 'utf8'),
  });
  await runAgent(
    { ...options, exclusive: `${options.hostName}@${engineSocket}` },
    {
      store,
      log,
      engine: new DockerodeEngine({ socketPath: engineSocket }),
      network: {
        ensure: (until) => manager.ensure(until),
        run: (until) => manager.run(until),
        problems: () => [...manager.problems(), ...dns.problems()],
        onProblems: (listener) => {
          listeners.push(listener);
        },
      },
      dns,
      clock: systemClock,
      random: Math.random,
      machine: {
        cpus: availableParallelism(),
        memoryBytes: totalmem(),
        kernel: release(),
        bootedAt: Date.now() - uptime() * 1000,
      },
    },
    signal,
  );
}
