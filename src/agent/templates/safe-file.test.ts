import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readBelow, removeEmptyBelow, replaceBelow, UnsafePathError } from './safe-file.ts';

const owner = { mode: 0o640, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
const bytes = Buffer.from('new');
let top: string;
let root: string;
let outside: string;

beforeEach(async () => {
  top = await mkdtemp(join(tmpdir(), 'nap-safe-'));
  [root, outside] = [join(top, 'volume'), join(top, 'outside')];
  await mkdir(root);
  await mkdir(outside);
  await writeFile(join(outside, 'secret'), 'secret');
});
afterEach(() => rm(top, { recursive: true }));

describe('a file in a directory that others write', () => {
  it('is made with its directories, owner and mode, and nothing beside it', async () => {
    await replaceBelow(root, 'a/b/file', bytes, owner);
    expect(await readFile(join(root, 'a/b/file'), 'utf8')).toBe('new');
    expect((await stat(join(root, 'a/b/file'))).mode & 0o777).toBe(0o640);
    expect(await readdir(join(root, 'a/b'))).toEqual(['file']);
    expect(await readBelow(root, 'a/b/file')).toEqual(bytes);
  });

  it('is never written through a link in its place', async () => {
    await symlink(join(outside, 'secret'), join(root, 'file'));
    expect(await readBelow(root, 'file')).toBeUndefined();
    await replaceBelow(root, 'file', bytes, owner);
    expect(await readFile(join(outside, 'secret'), 'utf8')).toBe('secret');
    expect(await readFile(join(root, 'file'), 'utf8')).toBe('new');
  });

  it.each(['../outside', '/outside'])(
    'is never written through a directory that is a link to %s',
    async (to) => {
      await symlink(to.startsWith('/') ? outside : to, join(root, 'dir'));
      await expect(replaceBelow(root, 'dir/secret', bytes, owner)).rejects.toThrow(UnsafePathError);
      expect(await readBelow(root, 'dir/secret')).toBeUndefined();
      expect(await readFile(join(outside, 'secret'), 'utf8')).toBe('secret');
    },
  );

  it.each(['../outside/secret', 'a/../../outside/secret', '', '..'])(
    'is not at %s',
    async (path) => {
      await expect(replaceBelow(root, path, bytes, owner)).rejects.toThrow(UnsafePathError);
      await removeEmptyBelow(root, path).catch(() => undefined);
      expect(await readFile(join(outside, 'secret'), 'utf8')).toBe('secret');
    },
  );

  it('does not replace a directory, nor go through a file', async () => {
    await mkdir(join(root, 'dir'));
    await writeFile(join(root, 'plain'), '');
    await expect(replaceBelow(root, 'dir', bytes, owner)).rejects.toThrow(/a directory stands/);
    await expect(replaceBelow(root, 'plain/x', bytes, owner)).rejects.toThrow(UnsafePathError);
    expect(await readdir(root)).toEqual(['dir', 'plain']);
  });

  it('is removed only when it is empty', async () => {
    await replaceBelow(root, 'full', bytes, owner);
    await writeFile(join(root, 'empty'), '');
    for (const name of ['full', 'empty', 'absent']) await removeEmptyBelow(root, name);
    expect(await readdir(root)).toEqual(['full']);
  });
});
