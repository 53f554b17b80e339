import { readFile } from 'node:fs/promises';
import { availableParallelism, release, totalmem, uptime } from 'node:os';
import { join } from 'node:path';
import type { Store } from '../registry/store.ts';
import { systemClock } from '../runtime/clock.ts';
import type { Logger } from '../telemetry/log.ts';
import { runAgent } from './agent.ts';
import { DnsService } from './dns/dns-service.ts';
import { DockerodeEngine } from './docker/dockerode-engine.ts';
import { FileStore } from './files/file-store.ts';
import { loadHostKey } from './files/host-key.ts';
import { ensureMemoryDirectory } from './files/memory-directory.ts';
import { hostExec } from './host/exec.ts';
import { NetworkManager } from './host/network-manager.ts';
import type { AgentFiles, AgentOptions } from './options.ts';

export interface StartAgentOptions extends Omit<AgentOptions, 'exclusive'> {
  /** Not closed by the agent. */
  readonly store: Store;
  readonly log: Logger;
  /** Of the engine's unix socket. Default /var/run/docker.sock. */
  readonly engineSocket?: string;
  /** Where the host's key is kept. Default /var/lib/nap. */
  readonly stateDirectory?: string;
  /** Where config files are kept in memory. Default /run/nap. */
  readonly runDirectory?: string;
}

const defaultStateDirectory = '/var/lib/nap';
const defaultRunDirectory = '/run/nap';
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
      files: await agentFiles(options, signal),
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

/** Each host has its own, though several may share a machine. */
async function agentFiles(options: StartAgentOptions, signal: AbortSignal): Promise<AgentFiles> {
  const { hostName, stateDirectory, runDirectory } = options;
  const directory = join(runDirectory ?? defaultRunDirectory, hostName, 'files');
  await ensureMemoryDirectory(directory, hostExec(), signal);
  const key = join(stateDirectory ?? defaultStateDirectory, hostName, 'sealing-key.json');
  return { store: new FileStore(directory), key: await loadHostKey(key) };
}
