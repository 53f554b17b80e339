import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { holdDataDirectory } from './data-directory.ts';

let base: string;
beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'nap-data-'));
});
afterEach(async () => {
  await rm(base, { recursive: true, force: true });
});

it('has one user at a time, by whatever path, and is free again afterwards', async () => {
  const release = await holdDataDirectory(join(base, 'data'));
  await symlink(join(base, 'data'), join(base, 'alias'));
  await expect(holdDataDirectory(join(base, 'alias'))).rejects.toThrow(/another nap is running/);
  const other = await holdDataDirectory(join(base, 'other'));
  other();
  release();
  (await holdDataDirectory(join(base, 'data')))();
});

it('that cannot be made says what to do', async () => {
  await writeFile(join(base, 'file'), '');
  await expect(holdDataDirectory(join(base, 'file/data'))).rejects.toThrow(/--data-dir/);
});
