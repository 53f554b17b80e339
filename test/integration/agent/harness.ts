import { runAgent } from '../../../src/agent/agent.ts';
import { DockerodeEngine } from '../../../src/agent/docker/dockerode-engine.ts';
import type { AgentDeps, AgentOptions, LocalInstances } from '../../../src/agent/options.ts';
import {
  endpointRecords,
  hostRecords,
  instanceRecords,
  placementRecords,
  type ContainerSpec,
  type EndpointRecord,
  type HostRecord,
  type InstanceKey,
  type InstanceRecord,
} from '../../../src/registry/records/index.ts';
import { openEtcdStore } from '../../../src/registry/etcd/store.ts';
import type { Store } from '../../../src/registry/store.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { createLogger, silentLogger } from '../../../src/telemetry/log.ts';
import { testImage, type TestDocker } from '../../support/docker.ts';

export const host = 'h1';

export function key(ordinal: number | string = 1, service = 'web'): InstanceKey {
  return { namespace: 'default', project: 'guestbook', service, ordinal: String(ordinal) };
}

/** A container spec that sleeps and ends at once on SIGTERM. */
export function spec(over: Partial<ContainerSpec> = {}): ContainerSpec {
  return {
    image: testImage,
    command: ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 60 & wait $!; done'],
    environment: {},
    ports: [],
    mounts: [],
    labels: {},
    hostname: 'guestbook-web-1',
    pullPolicy: 'missing',
    restart: 'always',
    stopGracePeriodMs: 3000,
    limits: {},
    reservations: {},
    ...over,
  };
}

/** Plays the operator. */
export class Operator {
  readonly #store: Store;
  #count = 0;

  constructor(store: Store) {
    this.#store = store;
  }

  /** Places (or changes) an instance; returns the placement's id. */
  async place(
    instance: InstanceKey,
    container: ContainerSpec,
    id = `${(++this.#count).toString(16).padStart(8, '0')}-0000`,
  ): Promise<string> {
    const value = placementRecords.encode({
      id,
      serviceUID: 'uid',
      specHash: hash(container),
      container,
      placedAt: new Date().toISOString(),
    });
    await this.#store.commit(
      [],
      [{ type: 'put', key: placementRecords.path({ host, ...instance }), value }],
    );
    return id;
  }

  async unplace(instance: InstanceKey): Promise<void> {
    await this.#store.commit(
      [],
      [{ type: 'delete', key: placementRecords.path({ host, ...instance }) }],
    );
  }

  async instance(instance: InstanceKey): Promise<InstanceRecord | undefined> {
    const entry = await this.#store.get(instanceRecords.path({ host, ...instance }));
    return entry && instanceRecords.decode(entry.value);
  }

  async endpoint(instance: InstanceKey): Promise<EndpointRecord | undefined> {
    const entry = await this.#store.get(endpointRecords.path(instance));
    return entry && endpointRecords.decode(entry.value);
  }

  async host(): Promise<HostRecord | undefined> {
    const entry = await this.#store.get(hostRecords.path({ host }));
    return entry && hostRecords.decode(entry.value);
  }
}

function hash(container: ContainerSpec): string {
  let sum = 0;
  for (const char of JSON.stringify(container)) sum = (sum * 31 + char.charCodeAt(0)) | 0;
  return (sum >>> 0).toString(16);
}

/** Its processes are in a namespace of their own: their numbers mean nothing here, and nobody can count their connections. */
class SealedEngine extends DockerodeEngine {
  override async inspect(...args: Parameters<DockerodeEngine['inspect']>) {
    const container = await super.inspect(...args);
    Reflect.deleteProperty(container, 'pid');
    return container;
  }
}

/** One run of an agent against a real engine, with a network that is only Docker's bridge. */
export class RunningAgent {
  readonly #stop = new AbortController();
  readonly done: Promise<void>;
  dns: { gateway: string; local: LocalInstances } | undefined;
  readonly #engine: DockerodeEngine;

  constructor(
    docker: Pick<TestDocker, 'socketPath'>,
    store: Store,
    over: Partial<AgentOptions> = {},
    deps: Partial<AgentDeps> = {},
  ) {
    this.#engine = new SealedEngine({ socketPath: docker.socketPath });
    this.done = runAgent(
      {
        hostName: host,
        machineID: 'machine-1',
        address: '10.99.0.1',
        version: 'test',
        leaseTtlMs: 3000,
        ...over,
      },
      {
        store,
        engine: this.#engine,
        network: {
          ensure: async () => ({
            subnet: '10.77.1.0/24',
            gateway: '10.77.1.1',
            dockerOptions: {
              'com.docker.network.bridge.name': 'nap0',
              'com.docker.network.driver.mtu': '1450',
            },
          }),
          dockerNetworkStands: () => undefined,
          problems: () => [],
          onProblems: () => undefined,
          run: (signal) => until(signal),
        },
        dns: {
          run: (gateway, local, signal) => {
            this.dns = { gateway, local };
            return until(signal);
          },
        },
        log: createLogger(process.env['NAP_TEST_LOG'] === undefined ? 'silent' : 'debug'),
        clock: systemClock,
        random: Math.random,
        machine: { cpus: 1, memoryBytes: 1e9, kernel: 'test' },
        ...deps,
      },
      this.#stop.signal,
    );
    this.done.catch((error: unknown) => {
      console.error('the agent of the test ended:', error);
    });
  }

  /** A planned stop. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.done;
  }
}

function until(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => {
      resolve();
    });
  });
}

/** A connection of its own to the etcd of a test. */
export function openTestStore(etcd: { readonly url: string }): Promise<Store> {
  return openEtcdStore({
    hosts: [etcd.url],
    clock: systemClock,
    log: silentLogger,
    random: Math.random,
  });
}
