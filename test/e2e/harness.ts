import { readFile } from 'node:fs/promises';
import { afterAll, beforeEach, expect } from 'vitest';
import { hostRecords } from '../../src/registry/records/host.ts';
import { Box, type Container } from '../support/box.ts';
import { run, type Outcome } from '../support/command.ts';
import { ControlPlane } from '../support/control-plane.ts';
import { eventually as poll } from '../support/eventually.ts';
import type { KubeObject } from '../support/kubectl.ts';
import { boxPlace, hosts, planePlace, toolsImage, type HostName } from './place.ts';

export { hosts, otherToolsImage, toolsImage, type HostName } from './place.ts';

/** The run's cluster; see global-setup.ts. */
export const box = new Box(boxPlace);
export const plane = new ControlPlane(planePlace);
export const { kubectl } = plane;

/** Polls patiently: probes start programs. */
export function eventually<T>(
  what: string,
  probe: () => T | Promise<T>,
  withinMs = 30_000,
): Promise<Exclude<T, undefined | false>> {
  return poll(what, probe, withinMs, 150);
}

/** Polls until `assertion` does not throw. */
export async function settles(
  what: string,
  assertion: () => Promise<void>,
  withinMs = 30_000,
): Promise<void> {
  let last: unknown;
  try {
    await eventually(
      what,
      async () => {
        try {
          await assertion();
          return true;
        } catch (error) {
          last = error;
          return false;
        }
      },
      withinMs,
    );
  } catch (error) {
    throw last instanceof Error
      ? new Error(`${(error as Error).message}: ${last.message}`, { cause: last })
      : error;
  }
}

/** Waits until the Host object says that the host is in this state: `Ready`, `Lost`. */
export async function hostIs(host: HostName, state: string, withinMs = 30_000): Promise<void> {
  await settles(
    `${host} is ${state}`,
    async () => {
      const { status } = await kubectl.get<{ status: { state: string } }>(`host/${host}`);
      expect(status.state).toBe(state);
    },
    withinMs,
  );
}

/**
 * What nap promises: within this time a host that was cut off has given up what is not its own any more. Its kernel holds on to an
 * address that it cannot resolve for 3 s, the channel to etcd rests for up to 1 s and the agent for up to 3 s between two tries, and then
 * there are containers to stop.
 */
export const returnMs = 10_000;

/** Fails when `assertion` does within `forMs`: for what must not happen. */
export async function holds(assertion: () => Promise<void>, forMs: number): Promise<void> {
  const end = performance.now() + forMs;
  do {
    await assertion();
    await new Promise((resolve) => setTimeout(resolve, 500));
  } while (performance.now() < end);
}

/** Conditions of an object by type. */
export type Conditions = Readonly<
  Record<string, { readonly status: string; readonly reason: string; readonly message: string }>
>;

export interface Instance {
  readonly name: string;
  readonly ordinal: number;
  readonly host?: string;
  readonly ip?: string;
  readonly phase: string;
  readonly ready: boolean;
  readonly restarts: number;
  readonly health?: string;
  readonly flaps?: number;
  readonly reason?: string;
  readonly message?: string;
}

interface WithConditions {
  readonly status?: {
    readonly conditions?: readonly {
      readonly type: string;
      readonly status: string;
      readonly reason: string;
      readonly message: string;
    }[];
    readonly instances?: readonly Instance[];
    readonly [field: string]: unknown;
  };
}

/** e.g. `conditions('napsvc/guestbook-web')`. */
export async function conditions(object: string, namespace = 'default'): Promise<Conditions> {
  const { status } = await kubectl.get<WithConditions>(object, '-n', namespace);
  return Object.fromEntries((status?.conditions ?? []).map((each) => [each.type, each]));
}

/** What the status of a Service says of its instances. */
export async function instances(service: string, namespace = 'default'): Promise<Instance[]> {
  const { status } = await kubectl.get<WithConditions>(`napsvc/${service}`, '-n', namespace);
  return [...(status?.instances ?? [])];
}

/** nap's containers of a project, by default one of the namespace `default`, on hosts that have power. */
export async function containers(
  project: string,
  filter: {
    readonly service?: string;
    readonly on?: readonly HostName[];
    readonly namespace?: string;
  } = {},
): Promise<Container[]> {
  const { service, on = hosts, namespace = 'default' } = filter;
  return box.containers(on, { namespace, project, ...(service === undefined ? {} : { service }) });
}

/** Waits until another agent than that with this number runs on the host. */
export async function anotherAgent(host: HostName, before: string): Promise<void> {
  await eventually('another agent', async () => {
    const now = await box.agentPid(host);
    return now !== undefined && now !== before;
  });
}

/** What the host's agent has written of itself under its lease, with the name of this life of it; undefined: there is none. */
async function sessionOf(host: HostName): Promise<string | undefined> {
  const text = await plane.etcdctl('get', hostRecords.path({ host }), '--print-value-only');
  return text.trim() === '' ? undefined : hostRecords.decode(text.trim()).session;
}

/** Takes a host's power and gives it back. Resolves when its agent is registered anew: whatever was said of it before is old. */
export async function reboot(host: HostName): Promise<void> {
  const before = await sessionOf(host);
  await box.kill(host);
  await box.boot(host);
  await eventually(
    `the agent of ${host} is registered anew`,
    async () => {
      const now = await sessionOf(host);
      return now !== undefined && now !== before;
    },
    60_000,
  );
  await hostIs(host, 'Ready', 60_000);
}

/** `service.ordinal` → container id, of all running containers. Fails when an instance runs twice. */
export function idsByInstance(list: readonly Container[]): Record<string, string> {
  const ids: Record<string, string> = {};
  for (const { service, ordinal, id, running } of list) {
    if (!running) continue;
    expect(ids, 'an instance must not run twice').not.toHaveProperty([`${service}.${ordinal}`]);
    ids[`${service}.${ordinal}`] = id;
  }
  return ids;
}

/** The one running container of an instance. */
export async function containerOf(
  project: string,
  service: string,
  ordinal = 1,
  on: readonly HostName[] = hosts,
): Promise<Container> {
  const found = (await containers(project, { service, on })).filter(
    (each) => each.running && each.ordinal === String(ordinal),
  );
  expect(found, `${project}-${service}-${ordinal} runs once`).toHaveLength(1);
  return found[0]!;
}

/** What runs, exactly: every instance of `wanted` (service → replicas) once, nothing else, not even stopped. */
export async function expectExactly(
  project: string,
  wanted: Readonly<Record<string, number>>,
  on: readonly HostName[] = hosts,
): Promise<void> {
  const list = await containers(project, { on });
  const names = list.map((c) => `${c.service}.${c.ordinal}${c.running ? '' : ' (not running)'}`);
  const expected = Object.entries(wanted).flatMap(([service, replicas]) =>
    Array.from({ length: replicas }, (_, i) => `${service}.${i + 1}`),
  );
  expect(names.sort()).toEqual(expected.sort());
}

/** A Project whose containers do nothing and end at once when asked to. */
export function project(
  name: string,
  services: Readonly<Record<string, object>>,
  namespace = 'default',
  more: object = {},
): KubeObject {
  return {
    apiVersion: 'nap.dev/v1alpha1',
    kind: 'Project',
    metadata: { name, namespace },
    spec: {
      ...more,
      services: Object.fromEntries(
        Object.entries(services).map(([service, spec]) => [
          service,
          { image: toolsImage, stopSignal: 'SIGKILL', ...spec },
        ]),
      ),
    },
  };
}

/** `dig +short` as a container would ask: its own resolver, from its own address. Sorted. */
export async function resolve(
  from: Pick<Container, 'host' | 'id'>,
  name: string,
  ...options: readonly string[]
): Promise<string[]> {
  const outcome = await dig(from, '+short', ...options, name);
  if (outcome.code !== 0) throw new Error(`dig ${name}: ${outcome.stdout}${outcome.stderr}`);
  return outcome.stdout
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith(';'))
    .sort();
}

export function dig(
  from: Pick<Container, 'host' | 'id'>,
  ...args: readonly string[]
): Promise<Outcome> {
  return box.inNetworkOf(from, ['dig', '@127.0.0.11', '+tries=1', '+time=2', ...args]);
}

/** Deletes projects (`name` or `namespace/name`) and waits until nothing of them is left on any host. */
export async function removeProjects(...names: readonly string[]): Promise<void> {
  for (const name of names) {
    const [namespace, only] = name.includes('/') ? name.split('/') : ['default', name];
    await kubectl.run(
      ...['delete', 'project', only!, '--namespace', namespace!],
      ...['--ignore-not-found', '--timeout=120s'],
    );
  }
}

/** Deletes the file's projects at its end. */
export function cleansUp(...names: readonly string[]): void {
  afterAll(async () => {
    await removeProjects(...names);
  });
}

beforeEach(({ onTestFailed }) => {
  onTestFailed(async () => {
    console.error(await dump());
  });
});

/** What somebody needs who was not there when a test failed. */
async function dump(): Promise<string> {
  const parts: string[] = [];
  const add = async (title: string, outcome: Promise<Outcome>, lines = 60): Promise<void> => {
    const { stdout, stderr } = await outcome;
    parts.push(`--- ${title}\n${tail(stdout + stderr, lines)}`);
  };
  const get = (...args: readonly string[]): Promise<Outcome> =>
    kubectl.try([...args, '--request-timeout=10s']);
  await add('projects, services, hosts', get('get', 'projects,napsvc,hosts', '-A', '-o', 'wide'));
  await add('events', get('get', 'events', '-A', '--sort-by=.lastTimestamp'), 30);
  await add('projects', get('describe', 'projects', '-A'), 120);
  await add(
    'status of services',
    get(
      'get',
      'napsvc',
      '-A',
      '-o',
      'custom-columns=NAME:.metadata.name,INSTANCES:.status.instances',
    ),
  );
  for (const host of hosts) {
    await add(`containers on ${host}`, box.tryDocker(host, ['ps', '-a'], { timeoutMs: 10_000 }));
  }
  const logs = [
    ...plane.processes.map((each) => each.log),
    ...hosts.flatMap((host) => [box.agentLog(host), box.engineLog(host)]),
  ];
  for (const log of logs) {
    const text = await readFile(log, 'utf8').catch((error: unknown) => String(error));
    // Docker's shims say much at level info.
    const lines = text.split('\n').filter((line) => !line.includes('level=info'));
    parts.push(`--- end of ${log}\n${tail(lines.join('\n'), 20)}`);
  }
  await add('load', run(['uptime']));
  return parts.join('\n');
}

function tail(text: string, lines: number): string {
  return text
    .trimEnd()
    .split('\n')
    .slice(-lines)
    .map((line) => line.slice(0, 400))
    .join('\n');
}
