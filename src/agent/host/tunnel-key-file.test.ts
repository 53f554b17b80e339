import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isTunnelKey } from '../../network/tunnel-key.ts';
import { hostExec } from './exec.ts';
import { loadTunnelKey } from './tunnel-key-file.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nap-tunnel-key-'));
});
afterEach(() => rm(directory, { recursive: true }));

describe('loadTunnelKey', () => {
  it('makes a key once, in a file for root alone', async () => {
    const path = join(directory, 'h1', 'wireguard.key');
    const key = await loadTunnelKey(path);
    expect(isTunnelKey(key.publicKey)).toBe(true);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect((await stat(join(directory, 'h1'))).mode & 0o777).toBe(0o700);
    await chmod(path, 0o644);
    expect(await loadTunnelKey(path)).toEqual(key);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect((await loadTunnelKey(join(directory, 'other'))).publicKey).not.toBe(key.publicKey);
  });

  it('takes the same public key from it as wg does', async () => {
    const path = join(directory, 'key');
    const { publicKey } = await loadTunnelKey(path);
    const input = await readFile(path, 'utf8');
    expect((await hostExec()('wg', ['pubkey'], { input })).stdout.trim()).toBe(publicKey);
    // One of wg's making.
    await writeFile(path, (await hostExec()('wg', ['genkey'])).stdout);
    const other = { input: await readFile(path, 'utf8') };
    const expected = (await hostExec()('wg', ['pubkey'], other)).stdout.trim();
    expect((await loadTunnelKey(path)).publicKey).toBe(expected);
  });

  it('makes another one when the file holds none', async () => {
    const path = join(directory, 'key');
    await writeFile(path, 'oops');
    const { publicKey } = await loadTunnelKey(path);
    expect((await loadTunnelKey(path)).publicKey).toBe(publicKey);
  });
});
