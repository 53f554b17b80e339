import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { agentOptions, agentParts } from '../../../test/support/agent-parts.ts';
import { FakeEngine } from '../../../test/support/fake-engine.ts';
import { containerSpec } from '../../../test/support/instances.ts';
import type { ConfigFile } from '../../api/v1alpha1/container-spec.ts';
import { sealBundle } from '../../registry/delivery-bundle.ts';
import { MemoryStore } from '../../registry/memory/store.ts';
import {
  deliveryRecords,
  hostRecords,
  instanceRecords,
  placementRecords,
  volumeRecords,
  type PlacementRecord,
} from '../../registry/records/index.ts';
import { generateHostKey } from '../../registry/seal.ts';
import { runAgent } from '../agent.ts';
import { FileStore } from './file-store.ts';

const image = 'shop/web:1';
const hostKey = generateHostKey();
const key = { namespace: 'default', project: 'shop', service: 'web', ordinal: '1' };
const path = placementRecords.path({ host: 'h1', ...key });
const owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
const told: ConfigFile = { target: '/a', mode: 0o444, ...owner, onChange: { signal: 'SIGHUP' } };

let directory: string;
let engine: FakeEngine;
let store: MemoryStore;
let line: MemoryStore;
let stop: AbortController;
let agent: Promise<void>;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nap-files-'));
  engine = new FakeEngine();
  engine.images.add(image);
  store = new MemoryStore();
  line = new MemoryStore({ database: store.database });
  start();
});

afterEach(async () => {
  await end();
  await line.close();
  await store.close();
  await rm(directory, { recursive: true });
});

async function end(): Promise<void> {
  stop.abort();
  await agent.catch(() => undefined);
}

function start(): void {
  stop = new AbortController();
  agent = runAgent(
    agentOptions({ auditMs: 50 }),
    agentParts(
      { store: line, engine },
      {
        files: { store: new FileStore(directory), key: hostKey },
        machine: { cpus: 1, memoryBytes: 1, kernel: 'k', bootedAt: 0 },
      },
    ),
    stop.signal,
  );
  agent.catch(() => undefined);
}

async function until<T>(what: string, probe: () => T | Promise<T>): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!(await probe())) {
    if (Date.now() > deadline) throw new Error(`not in time: ${what}; ${engine.calls.join(', ')}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** Places the instance with these contents, as an operator does. */
async function place(
  contents: readonly string[],
  over: Partial<PlacementRecord> = {},
  environment: Record<string, string> = {},
): Promise<void> {
  const hash = contents.join('|');
  const record: PlacementRecord = {
    id: 'id-1',
    serviceUID: 'u',
    specHash: 'spec-1',
    placedAt: '',
    delivery: { hash, recipient: 'r' },
    container: containerSpec({
      image,
      files: contents.map((_, index) => ({ ...told, target: `/file-${String(index)}` })),
      stopGracePeriodMs: 100,
    }),
    ...over,
  };
  const at = deliveryRecords.path({ host: 'h1', ...key });
  const files = contents.map((text) => Buffer.from(text));
  const sealed = sealBundle(hostKey.publicKey, at, { hash, files, environment });
  await store.commit(
    [],
    [
      { type: 'put', key: path, value: placementRecords.encode(record) },
      { type: 'put', key: at, value: deliveryRecords.encode({ hash, sealed }) },
    ],
  );
}

const report = () => {
  const entry = store.database.get(instanceRecords.path({ host: 'h1', ...key }));
  return entry && instanceRecords.decode(entry.value);
};
const runs = () => report()?.phase === 'Running';
const mounted = () => engine.requests.get(engine.containers[0]?.id ?? '')?.delivered;
const content = (index = 0) => readFile(mounted()?.files[index]?.source ?? '', 'utf8');
const signals = () => engine.calls.filter((call) => call.startsWith('signal'));

describe('config files on an agent', () => {
  it('are there before the container is, and its secret variables with it', async () => {
    await place(['one', 'two'], {}, { KEY: 'hush' });
    await until('it runs', runs);
    expect(mounted()?.files.map(({ target }) => target)).toEqual(['/file-0', '/file-1']);
    expect(mounted()?.environment).toEqual({ KEY: 'hush' });
    expect(await content(1)).toBe('two');
    const host = store.database.get(hostRecords.path({ host: 'h1' }));
    expect(hostRecords.decode(host?.value ?? '').sealingKey).toBe(hostKey.publicKey);
  });

  it('change under the container that runs, which is told once', async () => {
    await place(['one', 'two']);
    await until('it runs', runs);
    await place(['new', 'newer']);
    await until('it is told', () => signals().length > 0);
    await until('it says so', async () => (await content(1)) === 'newer');
    expect(signals()).toEqual(['signal c1 SIGHUP']);
    expect(engine.calls.filter((call) => call.startsWith('create'))).toHaveLength(1);
  });

  it('survive a restart of the agent: nothing is told or written twice', async () => {
    await place(['one']);
    await until('it runs', runs);
    await end();
    start();
    await place(['two']);
    // Told and noted: in between, the next agent would tell it once more rather than never.
    const version = () =>
      new FileStore(directory).version({ placementId: 'id-1', specHash: 'spec-1' });
    await until('it is told', () => version() === 'two');
    await end();
    start();
    await until('it is looked at', async () => (await content()) === 'two' && runs());
    expect(signals()).toHaveLength(1);
    expect(engine.containers).toHaveLength(1);
  });

  it('are written again after a reboot, before the container starts', async () => {
    await place(['one']);
    await until('it runs', runs);
    await end();
    // Memory is blank, and the engine could not start the container without the files.
    for (const name of await readdir(directory))
      await rm(join(directory, name), { recursive: true });
    engine.stopByHand('c1');
    engine.calls.length = 0;
    start();
    await until('it runs again', () => engine.containers[0]?.state === 'running');
    expect(await content()).toBe('one');
    expect(engine.calls).toEqual(['start c1']);
  });

  it('that are not to be had keep the container from starting, and nothing else', async () => {
    await place(['one'], { delivery: { hash: 'other', recipient: 'r' } });
    await until('it says so', () => report()?.reason === 'ConfigUnavailable');
    expect(engine.calls.some((call) => call.startsWith('create'))).toBe(false);
    await place(['one']);
    await until('it runs when they come', runs);
  });

  it('that change and cannot be had leave what runs running', async () => {
    await place(['one']);
    await until('it runs', runs);
    const entry = store.database.get(path);
    const record = placementRecords.decode(entry?.value ?? '');
    const value = placementRecords.encode({ ...record, delivery: { hash: 'x', recipient: 'r' } });
    await store.commit([], [{ type: 'put', key: path, value }]);
    await until('it says so', () => report()?.reason === 'ConfigUnavailable');
    expect(report()).toMatchObject({ phase: 'Running' });
    expect(engine.containers[0]?.state).toBe('running');
    expect(await content()).toBe('one');
  });

  it('go from memory when the instance goes', async () => {
    await place(['one']);
    await until('it runs', runs);
    await store.commit([], [{ type: 'delete', key: path }]);
    await until('they are gone', async () => (await readdir(directory)).length === 0);
  });
});

describe('volumes on an agent', () => {
  const record = { host: 'h1', namespace: 'default', project: 'shop', volume: 'data' };
  const at = volumeRecords.path(record);
  const volume = 'default_shop_data';
  const release = async (released: boolean) => {
    const value = volumeRecords.encode({ name: volume, reclaimPolicy: 'delete', released });
    await store.commit([], [{ type: 'put', key: at, value }]);
  };
  const placeWith = async (volumes: NonNullable<PlacementRecord['volumes']> = {}) => {
    await place([]);
    const base = placementRecords.decode(store.database.get(path)?.value ?? '');
    const mounts = [{ type: 'volume', name: volume, target: '/d', readOnly: false } as const];
    const value = placementRecords.encode({
      ...base,
      specHash: 'with-volume',
      container: { ...base.container, mounts },
      volumes,
    });
    await store.commit([], [{ type: 'put', key: path, value }]);
  };

  it('are made as they are defined', async () => {
    await placeWith({ [volume]: { driver: 'fancy', driverOpts: { a: 'b' } } });
    await until('it runs', () => report()?.specHash === 'with-volume' && runs());
    expect(engine.volumes.get(volume)).toBe('fancy');
  });

  it('that are external are never made', async () => {
    await placeWith({ [volume]: { external: true } });
    await until('it says so', () => report()?.reason === 'VolumeMissing');
    expect(engine.volumes.size).toBe(0);
    expect(report()?.message).toContain(volume);
  });

  it('are removed when they are released and no container holds them, then their record', async () => {
    await release(false);
    await placeWith();
    await until('it runs', () => report()?.specHash === 'with-volume' && runs());
    await release(true);
    await until('it is tried', () => engine.calls.includes(`remove volume ${volume}`));
    expect(engine.volumes.has(volume)).toBe(true);
    expect(store.database.get(at)).toBeDefined();
    await store.commit([], [{ type: 'delete', key: path }]);
    await until('the record is gone', () => store.database.get(at) === undefined);
    expect(engine.volumes.has(volume)).toBe(false);
  });

  it('of a host that was away are removed when it is back, before a new one of that name is made', async () => {
    await end();
    engine.volumes.set(volume, 'local');
    await release(true);
    await placeWith();
    start();
    await until('it runs', () => report()?.specHash === 'with-volume' && runs());
    const made = engine.calls.indexOf(`volume ${volume}`);
    const removed = engine.calls.indexOf(`remove volume ${volume}`);
    expect(removed).toBeGreaterThanOrEqual(0);
    expect(removed).toBeLessThan(made);
    expect(store.database.get(at)).toBeUndefined();
  });

  it('that nobody released stay, whoever goes', async () => {
    await release(false);
    await placeWith();
    await until('it runs', () => report()?.specHash === 'with-volume' && runs());
    await store.commit([], [{ type: 'delete', key: path }]);
    await until('the container is gone', () => engine.containers.length === 0);
    expect(engine.volumes.has(volume)).toBe(true);
  });
});
