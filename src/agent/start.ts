import { readFile } from 'node:fs/promises';
import { availableParallelism, release, totalmem, uptime } from 'node:os';
import { join } from 'node:path';
import { hrtime } from 'node:process';
import { defaultRunDirectory, routerHostDirectory } from '../api/v1alpha1/router.ts';
import type { Store } from '../registry/store.ts';
import { systemClock } from '../runtime/clock.ts';
import type { Logger } from '../telemetry/log.ts';
import { AddressBook } from './addresses/address-book.ts';
import { AddressFeed } from './addresses/address-feed.ts';
import type { AuditBook } from './audit/audit-book.ts';
import { LastKnown, remembering } from './known/last-known.ts';
import { licenceFile } from './licence.ts';
import { runAgent, type AgentState } from './agent.ts';
import { DnsService } from './dns/dns-service.ts';
import { DockerodeEngine } from './docker/dockerode-engine.ts';
import { FileStore } from './files/file-store.ts';
import { loadHostKey } from './files/host-key.ts';
import { ensureMemoryDirectory } from './files/memory-directory.ts';
import { hostExec } from './host/exec.ts';
import { NetworkManager } from './host/network-manager.ts';
import {
  defaultNetworkName,
  type AgentFiles,
  type AgentOptions,
  type AgentRouter,
} from './options.ts';
import { prepareRouter } from './router/agent-router.ts';
import { ServiceFeed } from './service-feed.ts';
import { TemplateStore } from './templates/template-store.ts';

export interface StartAgentOptions extends Omit<AgentOptions, 'exclusive'> {
  /** Where audits note what they have put right. */
  readonly audits: AuditBook;
  /** Not closed by the agent. */
  readonly store: Store;
  readonly log: Logger;
  /** Of the engine's unix socket. Default /var/run/docker.sock. */
  readonly engineSocket?: string;
  /** Where the host's keys and what the registry said last are kept. Default /var/lib/nap. */
  readonly stateDirectory?: string;
  /** Where config files are kept in memory. Default /run/nap. */
  readonly runDirectory?: string;
}

const defaultStateDirectory = '/var/lib/nap';
const defaultEngineSocket = '/var/run/docker.sock';

/**
 * Runs the agent of this machine, with its real engine, overlay and name server, until `signal` aborts; see `runAgent`
 * for what it throws. Needs root.
 */
export async function startAgent(
  options: StartAgentOptions,
  signal: AbortSignal,
  state?: AgentState,
): Promise<void> {
  const { store, engineSocket = defaultEngineSocket, address, audits } = options;
  const auditing = {
    audits,
    ...(options.auditMs === undefined ? {} : { auditIntervalMs: options.auditMs }),
  };
  const log = options.log.child({ host: options.hostName });
  const listeners: (() => void)[] = [];
  const tell = (): void => {
    for (const listener of listeners) listener();
  };
  const lastKnown = new LastKnown({
    directory: join(stateDirectoryOf(options), 'last-known'),
    clock: systemClock,
    log,
  });
  const services = new ServiceFeed({
    store: remembering(store, lastKnown),
    log,
    clock: systemClock,
  });
  const addresses = {
    book: new AddressBook(options.networkName ?? defaultNetworkName, () => systemClock.monotonic()),
    feed: new AddressFeed({ store: remembering(store, lastKnown), log, clock: systemClock }),
  };
  const manager = new NetworkManager({
    store,
    log,
    services,
    addresses,
    address,
    tunnelKeyPath: join(stateDirectoryOf(options), 'wireguard.key'),
    ...auditing,
    onProblem: tell,
  });
  const dns = new DnsService({
    store,
    log,
    services,
    overlay: () => manager.current,
    readResolvConf: () => readFile('/etc/resolv.conf', 'utf8'),
    ...auditing,
    onProblem: tell,
  });
  await runAgent(
    { ...options, exclusive: `${options.hostName}@${engineSocket}` },
    {
      store,
      log,
      engine: new DockerodeEngine({ socketPath: engineSocket }),
      network: {
        ensure: (until) => manager.ensure(until),
        dockerNetworkStands: () => {
          manager.dockerNetworkStands();
        },
        run: (until) => manager.run(until),
        problems: () => [...manager.problems(), ...dns.problems()],
        onProblems: (listener) => {
          listeners.push(listener);
        },
      },
      dns,
      audits,
      services,
      addresses,
      lastKnown,
      files: await agentFiles(options, signal),
      licence: licenceFile(join(runDirectoryOf(options), 'licence.json')),
      sinceBootMs: () => Number(hrtime.bigint() / 1_000_000n),
      router: await agentRouter(options, signal),
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
    state,
  );
}

/** Each host has its own, though several may share a machine. */
async function agentFiles(options: StartAgentOptions, signal: AbortSignal): Promise<AgentFiles> {
  const directory = join(runDirectoryOf(options), 'files');
  await ensureMemoryDirectory(directory, hostExec(), signal);
  const state = stateDirectoryOf(options);
  return {
    store: new FileStore(directory),
    key: await loadHostKey(join(state, 'sealing-key.json')),
    templates: new TemplateStore(join(state, 'templates')),
  };
}

function stateDirectoryOf({ stateDirectory, hostName }: StartAgentOptions): string {
  return join(stateDirectory ?? defaultStateDirectory, hostName);
}

function runDirectoryOf({ runDirectory, hostName }: StartAgentOptions): string {
  return join(runDirectory ?? defaultRunDirectory, hostName);
}

/** The directory is there, with a configuration, before a router is started for which it is mounted. */
async function agentRouter(options: StartAgentOptions, signal: AbortSignal): Promise<AgentRouter> {
  const directory = routerHostDirectory(
    options.runDirectory ?? defaultRunDirectory,
    options.hostName,
  );
  await ensureMemoryDirectory(directory, hostExec(), signal);
  return prepareRouter(directory);
}
