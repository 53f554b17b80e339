import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FileStore } from './file-store.ts';

const of = { placementId: 'p1', specHash: 'abcdef' };
const { uid, gid } = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
const files = [
  { target: '/a', mode: 0o440, uid, gid, onChange: { signal: 'SIGHUP' } },
  { target: '/b', mode: 0o400, uid, gid, hash: 'x' },
];

function bundle(a: string, b: string, environment = {}) {
  return { hash: `${a}|${b}`, files: [Buffer.from(a), Buffer.from(b)], environment };
}

describe('config files on a host', () => {
  let directory: string;
  let store: FileStore;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'nap-files-'));
    store = new FileStore(directory);
  });
  afterEach(() => rm(directory, { recursive: true }));

  const source = (index: number) => store.mounts(of, files)[index]?.source ?? '';

  it('are written with their modes, and count only when committed', async () => {
    await store.write(of, files, bundle('one', 'two', { KEY: 'v' }));
    expect(store.version(of)).toBeUndefined();
    await store.commit(of, 'one|two');
    expect(store.version(of)).toBe('one|two');
    expect(await readFile(source(0), 'utf8')).toBe('one');
    expect((await stat(source(0))).mode & 0o777).toBe(0o440);
    expect((await stat(source(1))).mode & 0o777).toBe(0o400);
    expect(await store.environment(of)).toEqual({ KEY: 'v' });
  });

  it('change in place, so that a mount of the file shows the new text, longer or shorter', async () => {
    await store.write(of, files, bundle('one', 'two'));
    await store.commit(of, '1');
    const before = (await stat(source(0))).ino;
    for (const text of ['a longer text', 's', '']) {
      expect(await store.write(of, files, bundle(text, 'two'))).toEqual([0]);
      await store.commit(of, text);
      expect(await readFile(source(0), 'utf8')).toBe(text);
    }
    expect((await stat(source(0))).ino).toBe(before);
  });

  it('remember what a container was not told before the agent died', async () => {
    await store.write(of, files, bundle('one', 'two'));
    await store.commit(of, '1');
    expect(await store.write(of, files, bundle('new', 'two'))).toEqual([0]);
    const next = new FileStore(directory);
    expect(next.version(of)).toBe('1');
    expect(await next.write(of, files, bundle('new', 'two'))).toEqual([0]);
    await next.commit(of, '2');
    expect(await next.write(of, files, bundle('new', 'two'))).toEqual([]);
  });

  it('go when their container goes, and no others', async () => {
    const other = { placementId: 'p2', specHash: 'x' };
    await store.write(of, files, bundle('one', 'two'));
    await store.write(other, files, bundle('one', 'two'));
    await store.sweep([other]);
    expect(await readdir(directory)).toHaveLength(1);
    expect(await readFile(store.mounts(other, files)[0]?.source ?? '', 'utf8')).toBe('one');
  });

  it('stay in their directory, whatever an id says', async () => {
    const hostile = { placementId: '../../etc', specHash: '../x' };
    await store.write(hostile, files, bundle('one', 'two'));
    expect(await readdir(directory)).toHaveLength(1);
  });
});
