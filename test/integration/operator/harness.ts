import { randomUUID } from 'node:crypto';
import { afterEach } from 'vitest';
import type { Condition } from '../../../src/api/v1alpha1/conditions.ts';
import { labels } from '../../../src/api/v1alpha1/group.ts';
import type { Host } from '../../../src/api/v1alpha1/host.ts';
import type { Project } from '../../../src/api/v1alpha1/project.ts';
import type { ProjectSpecInput } from '../../../src/api/v1alpha1/project.ts';
import type { Service } from '../../../src/api/v1alpha1/service.ts';
import type { OperatorOptions } from '../../../src/controllers/operator-options.ts';
import { runOperator, type OperatorState } from '../../../src/controllers/operator.ts';
import { KubeClient } from '../../../src/kube/client.ts';
import { KubeConfig } from '../../../src/kube/config.ts';
import { isTrue } from '../../../src/kube/conditions.ts';
import { hosts, projects, services } from '../../../src/kube/resources.ts';
import { MemoryDatabase } from '../../../src/registry/memory/database.ts';
import { MemoryStore } from '../../../src/registry/memory/store.ts';
import { placementRecords, type PlacementRecord } from '../../../src/registry/records/index.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { createLogger, silentLogger } from '../../../src/telemetry/log.ts';
import { plainOrdinal } from '../../../src/api/v1alpha1/seat.ts';
import { eventually } from '../../support/eventually.ts';
import { FakeAgent, type FakeAgentOptions } from '../../support/fake-agent.ts';
import { startEmbedded } from '../../support/apiserver.ts';
import { FakeKube } from '../../support/fake-kube.ts';
import { WatchLog } from '../../support/watch-log.ts';

/** Set NAP_TEST_LOG=debug to see what the operators say. */
const testLog = process.env['NAP_TEST_LOG'] === undefined ? silentLogger : createLogger('debug');

/** An event as the operator reported it. */
export interface SeenEvent {
  readonly kind: string;
  readonly name: string;
  readonly type: string;
  readonly reason: string;
  readonly message: string;
}

export interface PlacedInstance {
  readonly host: string;
  readonly project: string;
  readonly service: string;
  readonly ordinal: number;
  readonly record: PlacementRecord;
}

/** An operator that a test started. */
export interface RunningOperator {
  readonly store: MemoryStore;
  readonly state: OperatorState;
  /** Asks it to end, and waits until it has. */
  stop(): Promise<void>;
  /** From now on nothing it does reaches anybody: as if killed -9. Its leases run out. */
  kill(): void;
}

/** A cluster without containers: a registry, an API server, fake agents and real operators. */
export class Cluster {
  readonly database = new MemoryDatabase();
  readonly store = new MemoryStore({ database: this.database });
  readonly events: SeenEvent[] = [];
  readonly client: KubeClient;
  readonly #api: Api;
  readonly #config: KubeConfig;
  readonly #agents: FakeAgent[] = [];
  readonly #operators: RunningOperator[] = [];

  private constructor(api: Api) {
    this.#api = api;
    this.#config = api.config();
    this.client = new KubeClient(this.#config, { timeoutMs: 20_000 });
  }

  static async create(kind: ApiKind): Promise<Cluster> {
    return new Cluster(await startApi(kind));
  }

  /** The fake API server; throws when this cluster has the embedded one. */
  get kube(): FakeKube {
    if (this.#api.fake === undefined) throw new Error('no fake API server here');
    return this.#api.fake;
  }

  async close(): Promise<void> {
    await Promise.all(this.#operators.map((operator) => operator.stop()));
    await Promise.all(this.#agents.map((agent) => agent.die()));
    await this.#config.close();
    await this.#api.stop();
    await this.store.close();
  }

  /** @param config its way to the API server */
  operator(
    options: Partial<OperatorOptions> = {},
    config: KubeConfig = this.#api.config(),
  ): RunningOperator {
    const store = new MemoryStore({ database: this.database });
    const stop = new AbortController();
    const state: OperatorState = { leading: false, deciding: false };
    const identity = `operator-${String(this.#operators.length)}-${randomUUID()}`;
    const done = runOperator(
      {
        identity,
        hostTtlMs: 300,
        updateMonitorMs: 50,
        // A machine that stands still for some seconds deposes nobody. Who kills an operator waits for less.
        claimTtlMs: 10_000,
        noteEveryMs: 200,
        ...options,
      },
      {
        store,
        client: new KubeClient(config, { timeoutMs: 2_000 }),
        events: {
          record: (object, type, reason, message) => {
            const name = 'metadata' in object ? object.metadata.name : object.name;
            this.events.push({ kind: object.kind, name, type, reason, message });
          },
        },
        clock: systemClock,
        log: testLog,
        random: Math.random,
        newId: randomUUID,
      },
      stop.signal,
      state,
    );
    let killed = false;
    const operator: RunningOperator = {
      store,
      state,
      stop: async () => {
        stop.abort();
        await done;
        if (!killed) await config.close();
      },
      kill: () => {
        killed = true;
        store.disconnect();
        void config.close();
        stop.abort();
      },
    };
    this.#operators.push(operator);
    return operator;
  }

  async agent(host: string, options: FakeAgentOptions = {}): Promise<FakeAgent> {
    const index = this.#agents.length + 1;
    const agent = new FakeAgent(new MemoryStore({ database: this.database }), host, {
      index,
      // They die on command only.
      ttlMs: 60_000,
      ...options,
    });
    this.#agents.push(agent);
    await agent.start();
    return agent;
  }

  async agents(...names: string[]): Promise<FakeAgent[]> {
    return Promise.all(names.map((name) => this.agent(name)));
  }

  /** Creates the Project or changes its spec, as kubectl apply would. */
  async apply(name: string, spec: ProjectSpecInput): Promise<void> {
    await this.client.apply(
      projects,
      { metadata: { name, namespace: 'default' }, spec },
      { fieldManager: 'kubectl', force: true },
    );
  }

  project(name: string): Promise<Project | undefined> {
    return this.client.find(projects, { namespace: 'default', name });
  }

  service(name: string): Promise<Service | undefined> {
    return this.client.find(services, { namespace: 'default', name });
  }

  host(name: string): Promise<Host | undefined> {
    return this.client.find(hosts, { name });
  }

  async scale(name: string, replicas: number): Promise<void> {
    await this.client.patch(
      services,
      { namespace: 'default', name },
      { type: 'merge', body: { spec: { replicas } } },
    );
  }

  async placements(service?: string): Promise<PlacedInstance[]> {
    const { entries } = await this.store.list(placementRecords.prefix);
    return entries
      .map(({ key, value }): PlacedInstance | undefined => {
        const path = placementRecords.parsePath(key);
        if (path === undefined) return undefined;
        return {
          host: path.host,
          project: path.project,
          service: path.service,
          ordinal: Number(plainOrdinal(path.ordinal)),
          record: placementRecords.decode(value),
        };
      })
      .filter((p) => p !== undefined)
      .filter((p) => service === undefined || p.service === service)
      .sort((a, b) => a.ordinal - b.ordinal || (a.host < b.host ? -1 : 1));
  }

  /**
   * Waits until the Project and each of its Services are Ready for their present specs. (A Project alone may still be
   * Ready from before: that a Service was scaled is no change of its spec.)
   */
  async ready(name: string, withinMs?: number): Promise<Project> {
    return eventually(
      `project ${name} is Ready`,
      async () => {
        const { items } = await this.client.list(services, { namespace: 'default' });
        const own = items.filter(({ metadata }) => metadata.labels?.[labels.project] === name);
        if (!own.every(isReady)) return undefined;
        const project = await this.project(name);
        return project !== undefined && isReady(project) ? project : undefined;
      },
      withinMs,
    );
  }

  /** Waits for an event: the operators tell of what they did after it can be seen. */
  async told(event: Partial<SeenEvent>): Promise<SeenEvent> {
    return eventually(`an event ${JSON.stringify(event)}`, () =>
      this.events.find((seen) =>
        Object.entries(event).every(([field, value]) => seen[field as keyof SeenEvent] === value),
      ),
    );
  }

  /** Follows the endpoints of a service from now on; the function gives the fewest ordinals that ever had one. */
  async serving(project: string, service: string): Promise<() => Promise<number>> {
    const log = new WatchLog(this.store, `/services/default/${project}/${service}/`);
    await log.until('a snapshot', ({ snapshots }) => snapshots.length === 1);
    return async () => {
      await log.stop();
      return fewestServing(log);
    };
  }

  /** Waits until the placed ordinals of a service are these. */
  async ordinals(service: string, expected: readonly number[], withinMs?: number): Promise<void> {
    let seen: unknown;
    await eventually(
      `ordinals ${expected.join(',')} of ${service}`,
      async () => {
        const placed = await this.placements(service);
        seen = placed.map((p) => p.ordinal);
        return JSON.stringify(seen) === JSON.stringify(expected);
      },
      withinMs,
    ).catch((error: unknown) => {
      throw new Error(`${String(error)}; placed are ${JSON.stringify(seen)}`);
    });
  }
}

interface Conditioned {
  readonly metadata: { readonly generation?: number | undefined };
  readonly status?: {
    readonly observedGeneration?: number | undefined;
    readonly conditions?: readonly Condition[] | undefined;
  };
}

function isReady({ metadata, status }: Conditioned): boolean {
  return status?.observedGeneration === metadata.generation && isTrue(status?.conditions, 'Ready');
}

/** Change by change, not batch by batch. */
function fewestServing(log: WatchLog): number {
  const keys = new Set<string>();
  const ordinals = (): number =>
    new Set([...keys].map((key) => plainOrdinal(key.split('/').at(-1) ?? ''))).size;
  for (const { key } of log.snapshots[0]?.entries ?? []) keys.add(key);
  let fewest = ordinals();
  for (const event of log.events) {
    if (event.type === 'put') keys.add(event.entry.key);
    else keys.delete(event.key);
    fewest = Math.min(fewest, ordinals());
  }
  return fewest;
}

/** `fake` can misbehave on command; `embedded` is the real thing. */
export type ApiKind = 'fake' | 'embedded';

interface Api {
  readonly fake?: FakeKube;
  config(): KubeConfig;
  stop(): Promise<void>;
}

async function startApi(kind: ApiKind): Promise<Api> {
  if (kind === 'embedded') {
    const server = await startEmbedded();
    return {
      config: () => KubeConfig.fromFile(server.kubeconfig),
      stop: () => server.close(),
    };
  }
  const fake = await FakeKube.start();
  return {
    fake,
    config: () => KubeConfig.fromString(fake.kubeconfig(), { insecureLoopback: true }),
    stop: () => fake.stop(),
  };
}

const open: Cluster[] = [];

afterEach(async () => {
  await Promise.all(open.splice(0).map((cluster) => cluster.close()));
});

/** A cluster that is taken down after the test. */
export async function cluster(kind: ApiKind = 'fake'): Promise<Cluster> {
  const made = await Cluster.create(kind);
  open.push(made);
  return made;
}
