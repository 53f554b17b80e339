import { chmod, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isTunnelKey } from '../../../network/overlay/tunnel-key.ts';
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

  it('computes the public key from it', async () => {
    // The keys of RFC 7748, section 6.1.
    const base64 = (hex: string): string => Buffer.from(hex, 'hex').toString('base64');
    const path = join(directory, 'key');
    await writeFile(
      path,
      base64('77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a'),
    );
    expect((await loadTunnelKey(path)).publicKey).toBe(
      base64('8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a'),
    );
  });

  it('makes another one when the file holds none', async () => {
    const path = join(directory, 'key');
    await writeFile(path, 'oops');
    const { publicKey } = await loadTunnelKey(path);
    expect((await loadTunnelKey(path)).publicKey).toBe(publicKey);
  });
});
