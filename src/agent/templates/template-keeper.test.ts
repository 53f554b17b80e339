import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FakeEngine } from '../../../test/support/fake-engine.ts';
import type { DeliveredTemplate } from '../../api/v1alpha1/template-spec.ts';
import type { EndpointRecord } from '../../registry/records/index.ts';
import { systemClock } from '../../runtime/clock.ts';
import { silentLogger } from '../../telemetry/log.ts';
import type { DesiredInstance } from '../desired.ts';
import type { OwnedContainer } from '../ownership.ts';
import type { ServiceKey, ServiceSink } from '../service-feed.ts';
import { TemplateKeeper } from './template-keeper.ts';
import { TemplateStore } from './template-store.ts';

const key = { namespace: 'default', project: 'shop', service: 'proxy', ordinal: '1' };
const id = 'default/shop/proxy/1';
const web: ServiceKey = { namespace: 'default', project: 'shop', service: 'web' };
const me = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
const template: DeliveredTemplate = {
  text: '{% for i in services.web.instances %}{{ i.name }}={{ i.address }};{% endfor %}',
  target: '/data/list',
  mode: 0o644,
  ...me,
  watch: [{ service: 'web', alias: 'web' }],
  waitFor: 0,
  reload: { signal: 'SIGHUP' },
};

class FakeFeed {
  synced = true;
  #sink: ServiceSink | undefined;

  subscribe(sink: ServiceSink): () => void {
    this.#sink = sink;
    return () => undefined;
  }

  /** Says which seats of web serve, and that it exists. */
  say(...seats: (readonly [seat: string, address: string | undefined])[]): void {
    this.#sink?.service(web, { uid: 'u', ports: [], links: [] });
    for (const [seat, address] of seats)
      this.#sink?.endpoint(web, seat, address === undefined ? undefined : endpoint(address));
    this.#sink?.settled();
  }

  /** A service of that name is made anew, as a registry tells that was away meanwhile. */
  anew(): void {
    this.#sink?.service(web, { uid: 'u2', ports: [], links: [] });
    this.#sink?.settled();
  }

  /** Endpoints have gone. */
  lose(...seats: readonly string[]): void {
    for (const seat of seats) this.#sink?.endpoint(web, seat, undefined);
    this.#sink?.settled();
  }

  drop(): void {
    this.#sink?.service(web, undefined);
    this.#sink?.settled();
  }
}

function endpoint(address: string): EndpointRecord {
  return { host: 'h1', ipv4_addr: address, port: 80, ports: [] };
}

let top: string;
let volume: string;
let engine: FakeEngine;
let feed: FakeFeed;
let running: OwnedContainer[];
/** What the engine has to say that the agent has not seen. */
let lookAgain: () => void;
let keeper: TemplateKeeper;
let stop: AbortController;
/** Keepers that have not ended yet. */
let keeping: Promise<void>[];

beforeEach(async () => {
  top = await mkdtemp(join(tmpdir(), 'nap-keeper-'));
  volume = join(top, 'volume');
  await mkdir(volume);
  engine = new FakeEngine();
  engine.volumeDirectories.set('data', volume);
  running = [];
  lookAgain = () => undefined;
  keeping = [];
  start();
});
afterEach(async () => {
  stop.abort();
  await Promise.all(keeping);
  // What one was writing may yet come to its end there.
  await rm(top, { recursive: true, maxRetries: 10 });
});

function start(): void {
  feed = new FakeFeed();
  stop = new AbortController();
  keeper = new TemplateKeeper({
    host: { name: 'h1', address: '10.0.0.1', machineID: 'm', metadata: {} },
    feed,
    store: new TemplateStore(join(top, 'state')),
    engine,
    containers: () => running,
    refresh: () => {
      lookAgain();
      return Promise.resolve();
    },
    network: () => ({ name: 'nap', gateway: '10.77.1.1' }),
    delivered: () => Promise.resolve(undefined),
    clock: systemClock,
    random: () => 0,
    log: silentLogger,
    onChange: () => undefined,
  });
  keeping.push(keeper.run(stop.signal));
}

const desired = {
  key,
  id: 'p1',
  specHash: 's1',
  placement: {
    container: {
      mounts: [{ type: 'volume', name: 'data', target: '/data', readOnly: false }],
      templates: [{ target: '/data/list' }],
    },
  },
} as unknown as DesiredInstance;

function adopt(
  over: Partial<DeliveredTemplate> = {},
  isRunning = false,
  hash = 'h',
): Promise<void> {
  const bundle = { hash, templates: [{ ...template, ...over }] };
  const until = AbortSignal.any([stop.signal, AbortSignal.timeout(20_000)]);
  return keeper.adopt(key, desired, bundle, isRunning, () => undefined, until);
}

const container = (over: Partial<OwnedContainer> = {}): OwnedContainer =>
  ({
    id: 'c1',
    key,
    placementId: 'p1',
    specHash: 's1',
    state: 'running',
    startedAt: '2020-01-01T00:00:00Z',
    ...over,
  }) as OwnedContainer;

/** The container runs, and has for long; all take signals. */
async function run(...containers: readonly OwnedContainer[]): Promise<void> {
  running = containers.length === 0 ? [container()] : [...containers];
  engine.signal = (containerId, name) => {
    engine.calls.push(`signal ${containerId} ${name}`);
    return Promise.resolve();
  };
  await Promise.resolve();
}

const signals = () => engine.calls.filter((call) => call.startsWith('signal'));

const look = () => keeper.observe(id, key, desired, running);
const notes = () => join(top, 'state', 'p1-s1');
const isNote = (name: string) => name.endsWith('.untold');
const list = () => readFile(join(volume, 'list'), 'utf8');

async function until(what: string, probe: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!(await probe())) {
    if (Date.now() > deadline) throw new Error(`not in time: ${what}; ${engine.calls.join(', ')}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

describe('a template', () => {
  it('is rendered before the container is started, in order of ordinals', async () => {
    feed.say(['10', '10.0.0.10'], ['2', '10.0.0.2'], ['1', '10.0.0.1']);
    await adopt();
    expect(await list()).toBe('shop-web-1=10.0.0.1;shop-web-2=10.0.0.2;shop-web-10=10.0.0.10;');
    expect(keeper.ready(desired, 'h')).toBe(true);
    expect(engine.calls.filter((call) => call.startsWith('signal'))).toEqual([]);
  });

  it('waits for the registry, and for as many instances as are asked for', async () => {
    feed.synced = false;
    let done = false;
    const adopted = adopt({ waitFor: 2 }).then(() => (done = true));
    feed.say(['1', '10.0.0.1'], ['2', '10.0.0.2']);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(done).toBe(false);
    feed.synced = true;
    feed.say(['2', undefined]);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(done).toBe(false);
    feed.say(['2', '10.0.0.2']);
    await adopted;
    expect(await list()).toContain('shop-web-2');
  });

  it('follows changes, tells the container once for each content, and not when nothing differs', async () => {
    feed.say(['1', '10.0.0.1']);
    await adopt();
    await run();
    look();
    feed.say(['2', '10.0.0.2']);
    feed.say(['3', '10.0.0.3']);
    await until('it is told', () => engine.calls.includes('signal c1 SIGHUP'));
    expect(await list()).toContain('shop-web-3');
    feed.say(['3', '10.0.0.3']);
    await adopt({}, true, 'h2');
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(engine.calls.filter((call) => call.startsWith('signal'))).toHaveLength(1);
  });

  it('whose check fails keeps the last good file, says why, and recovers', async () => {
    feed.say(['1', '10.0.0.1']);
    await adopt({ check: ['judge'] });
    await run();
    engine.once = () => Promise.resolve({ exitCode: 1, output: 'no such thing\n' });
    feed.say(['2', '10.0.0.2']);
    await until('it is said', () => look() !== undefined);
    expect(look()).toEqual({
      reason: 'TemplateCheckFailed',
      message: '/data/list: judge: exit code 1: no such thing',
    });
    expect(await list()).toBe('shop-web-1=10.0.0.1;');
    engine.once = () => Promise.resolve({ exitCode: 0, output: '' });
    feed.say(['3', '10.0.0.3']);
    await until('all is well', () => look() === undefined);
    expect(await list()).toContain('shop-web-3');
  });

  it('that is never good keeps the container from starting', async () => {
    engine.once = () => Promise.resolve({ exitCode: 2, output: '' });
    feed.say(['1', '10.0.0.1']);
    await expect(adopt({ check: ['judge'] })).rejects.toThrow(/judge: exit code 2/);
    await expect(list()).rejects.toThrow(/ENOENT/);
    await expect(adopt({ text: '{{ nobody }}' }, false, 'h2')).rejects.toThrow(
      /undefined variable/,
    );
  });

  it('is empty when its service is deleted, and not while that only lost its records', async () => {
    feed.say(['1', '10.0.0.1'], ['2', '10.0.0.2']);
    await adopt();
    await run();
    look();
    feed.say(['1', undefined], ['2', undefined]);
    await new Promise((resolve) => setTimeout(resolve, 600));
    expect(await list()).toBe('shop-web-1=10.0.0.1;shop-web-2=10.0.0.2;');
    feed.drop();
    await until('it is empty', async () => (await list()) === '');
  });

  it('holds nothing of a service that was made anew under the same name', async () => {
    feed.say(['1', '10.0.0.1']);
    await adopt();
    await run();
    look();
    feed.anew();
    feed.lose('1');
    await until('it is empty', async () => (await list()) === '');
    feed.say(['1', '10.0.0.9']);
    await until('it follows', async () => (await list()) === 'shop-web-1=10.0.0.9;');
  });

  it('is not forgotten by an agent that ends between writing and telling', async () => {
    feed.say(['1', '10.0.0.1']);
    await adopt();
    await run();
    engine.signal = () => Promise.reject(new Error('cut off'));
    look();
    feed.say(['2', '10.0.0.2']);
    await until('it is written', async () => (await list()).includes('shop-web-2'));
    await until('it is said', () => look() !== undefined);
    stop.abort();
    start();
    await run();
    feed.say(['1', '10.0.0.1'], ['2', '10.0.0.2']);
    look();
    await until('it is told', () => engine.calls.includes('signal c1 SIGHUP'));
  });

  it('is told to a container that had begun before the change, though the agent had not seen that yet', async () => {
    feed.say(['1', '10.0.0.1']);
    await adopt();
    await run(container({ state: 'created' }));
    lookAgain = () => {
      // Later than the change: the engine notes the start when the program has begun.
      running = [container({ startedAt: new Date(Date.now() + 50).toISOString() })];
    };
    look();
    feed.say(['2', '10.0.0.2']);
    await until('it is told', () => signals().length > 0);
    expect(await list()).toContain('shop-web-2');
  });

  it('is not told to a container that begins after the change, nor to one of a hook', async () => {
    feed.say(['1', '10.0.0.1']);
    await adopt();
    const hook = container({
      id: 'c2',
      hook: { phase: 'post-start', index: 0, containerId: 'c1', run: '1' },
    });
    await run(container({ state: 'created' }), hook);
    let looked = false;
    lookAgain = () => (looked = true);
    look();
    feed.say(['2', '10.0.0.2']);
    await until('it is looked at', () => looked);
    await run();
    await adopt({}, true, 'h2');
    feed.say(['2', '10.0.0.3']);
    await until('the next change is told', () => signals().length > 0);
    await until('all is done', async () => (await readdir(notes())).every((n) => !isNote(n)));
    expect(signals()).toEqual(['signal c1 SIGHUP']);
  });

  it('is told to those alone that have yet to be, by the next agent as well', async () => {
    const reader = { ...key, service: 'reader' };
    const readers = ['c1', 'c2', 'c3'].map((id) => container({ id, key: reader }));
    const reload = { signal: 'SIGHUP', service: 'reader' };
    feed.say(['1', '10.0.0.1']);
    await adopt({ reload });
    await run(...readers);
    const { signal } = engine;
    engine.signal = (id, ...rest) =>
      id === 'c2' ? Promise.reject(new Error('cut off')) : signal(id, ...rest);
    look();
    feed.say(['2', '10.0.0.2']);
    await until('it is said that one could not be told', () => look() !== undefined);
    stop.abort();
    start();
    // One has begun anew meanwhile, and has read the file.
    await run(...readers.slice(0, 2), { ...readers[2]!, startedAt: '2020-01-02T00:00:00Z' });
    feed.say(['1', '10.0.0.1'], ['2', '10.0.0.2']);
    look();
    await until('all are told', async () => (await readdir(notes())).every((n) => !isNote(n)));
    expect(signals()).toEqual(['signal c1 SIGHUP', 'signal c2 SIGHUP']);
  });

  it('is about its placement: another of the same names and contents begins with nothing told', async () => {
    feed.say(['1', '10.0.0.1']);
    await adopt();
    await run();
    look();
    feed.say(['2', '10.0.0.2']);
    await until('it is told', () => signals().length > 0);
    stop.abort();
    start();
    // A new cluster: another placement, and a container of it, of the same service.
    const other = { ...desired, id: 'p2' };
    feed.say(['1', '10.0.0.1']);
    const bundle = { hash: 'h', templates: [template] };
    await keeper.adopt(key, other, bundle, false, () => undefined, stop.signal);
    expect(await list()).toBe('shop-web-1=10.0.0.1;');
    await run(container({ id: 'c9', placementId: 'p2' }));
    keeper.observe(id, key, other, running);
    feed.say(['2', '10.0.0.2']);
    await until('it is told, too', () => signals().length > 1);
    expect(signals()).toEqual(['signal c1 SIGHUP', 'signal c9 SIGHUP']);
  });

  it('stays as it was while nothing has been read by a new agent', async () => {
    feed.say(['1', '10.0.0.1']);
    await adopt();
    stop.abort();
    start();
    feed.synced = false;
    look();
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(await list()).toBe('shop-web-1=10.0.0.1;');
    expect(keeper.ready(desired, 'h')).toBe(true);
  });

  it('never follows a link', async () => {
    await writeFile(join(top, 'secret'), 'secret');
    await symlink(join(top, 'secret'), join(volume, 'list'));
    feed.say(['1', '10.0.0.1']);
    await adopt();
    expect(await readFile(join(top, 'secret'), 'utf8')).toBe('secret');
    expect(await list()).toBe('shop-web-1=10.0.0.1;');
  });
});
