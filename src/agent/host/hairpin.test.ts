import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Exec } from './exec.ts';
import { ensureHairpin } from './hairpin.ts';

let directory: string;
let started: string[];
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nap-hairpin-'));
  started = [];
});
afterEach(() => rm(directory, { recursive: true }));

/** Of a host with one port by programs. */
const exec: Exec = (command, args, options) => {
  started.push([command, ...args, options?.input ?? ''].join(' ').trim());
  const ports = JSON.stringify([
    { ifname: 'veth1', master: 'nap0', hairpin: false },
    { ifname: 'veth2', master: 'nap0', hairpin: true },
    { ifname: 'veth3', master: 'docker0', hairpin: false },
  ]);
  return Promise.resolve({ stdout: command === 'sysctl' ? '1\n' : ports, stderr: '' });
};

async function put(path: string, text: string): Promise<void> {
  await mkdir(dirname(join(directory, path)), { recursive: true });
  await writeFile(join(directory, path), text);
}

const filtered = (value: string) => put('proc/net/bridge/bridge-nf-call-iptables', `${value}\n`);
const mode = (port: string) => `sys/class/net/${port}/brport/hairpin_mode`;
const read = (path: string) => readFile(join(directory, path), 'utf8');
const ensure = () =>
  ensureHairpin(exec, 'nap0', { sys: join(directory, 'sys'), settings: join(directory, 'proc') });

describe('the ports of a bridge', () => {
  beforeEach(async () => {
    await put(mode('veth1'), '0\n');
    await put(mode('veth2'), '1\n');
    await put(mode('veth3'), '0\n');
    for (const port of ['veth1', 'veth2', 'gone']) await put(`sys/class/net/nap0/brif/${port}`, '');
  });

  it('all send back where br_netfilter is in force, and no program is started for it', async () => {
    await filtered('1');
    expect(await ensure()).toBe(true);
    expect([await read(mode('veth1')), await read(mode('veth2'))]).toEqual(['1', '1\n']);
    // Of another bridge.
    expect(await read(mode('veth3'))).toBe('0\n');
    expect(started).toEqual([]);
  });

  it.each(['0', 'no such setting'])('stay as they are where it is not: %s', async (value) => {
    if (value === '0') await filtered(value);
    expect(await ensure()).toBe(false);
    expect(await read(mode('veth1'))).toBe('0\n');
    expect(started).toEqual([]);
  });

  it('are looked after by programs where files do not show the bridge', async () => {
    await filtered('1');
    await rm(join(directory, 'sys/class/net/nap0'), { recursive: true });
    expect(await ensure()).toBe(true);
    expect(started.at(-1)).toBe('bridge -force -batch - link set dev veth1 hairpin on');
  });

  it('are looked after by programs where files may only be read', async () => {
    await filtered('1');
    // What cannot be written: a directory stands for it.
    await rm(join(directory, mode('veth1')));
    await mkdir(join(directory, mode('veth1')));
    expect(await ensure()).toBe(true);
    expect(started.at(-1)).toBe('bridge -force -batch - link set dev veth1 hairpin on');
  });
});
