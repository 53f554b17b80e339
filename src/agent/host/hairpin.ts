/**
 * Where `br_netfilter` is in force for all bridges, an instance that reaches itself through a virtual IP is turned within the bridge, and
 * would have to leave by the port it came in: ports are allowed that. Each instance that starts is a port more, and starting
 * programs then is what a busy host can afford least, so it is done by the kernel's files where they show this network.
 */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { Exec } from './exec.ts';
import { parseTool } from './tool-output.ts';

/** Directories through which the kernel shows itself. */
export interface KernelFiles {
  /** `/sys`; shows the devices of the network in which it was mounted. */
  readonly sys: string;
  /** `/proc/sys`; shows the settings of the network that the reader is in. */
  readonly settings: string;
}

export const kernelFiles: KernelFiles = { sys: '/sys', settings: '/proc/sys' };

/** Of a device that is no more, or that has left its bridge. */
const gone: ReadonlySet<string | undefined> = new Set(['ENOENT', 'ENODEV', 'EINVAL']);
const setting = 'net/bridge/bridge-nf-call-iptables';
const portList = z.array(
  z.looseObject({
    ifname: z.string(),
    master: z.string().optional(),
    hairpin: z.boolean().optional(),
  }),
);

/**
 * Lets instances reach themselves, where that takes a setting of their ports. Returns whether bridges hand their frames to
 * iptables and nftables' `ip` tables. Throws ExecError.
 * @param files of the network that `exec` runs programs in; absent, or when the bridge is not there: all is done by programs
 */
export async function ensureHairpin(
  exec: Exec,
  bridge: string,
  files?: KernelFiles,
  signal?: AbortSignal,
): Promise<boolean> {
  const byFiles = files && (await hairpinByFiles(files, bridge));
  return byFiles ?? hairpinByPrograms(exec, bridge, signal);
}

/** Undefined when the files do not show the bridge. */
async function hairpinByFiles(
  { sys, settings }: KernelFiles,
  bridge: string,
): Promise<boolean | undefined> {
  // Without br_netfilter there is no such setting.
  const filtered = await readFile(join(settings, setting), 'utf8').catch(() => '');
  if (filtered.trim() !== '1') return false;
  const ports = await readdir(join(sys, 'class/net', bridge, 'brif')).catch(() => undefined);
  if (ports === undefined) return undefined;
  for (const port of ports) {
    const mode = join(sys, 'class/net', port, 'brport/hairpin_mode');
    try {
      if ((await readFile(mode, 'utf8')).trim() !== '1') await writeFile(mode, '1');
    } catch (error) {
      // The instance has ended meanwhile; else, for example, /sys may only be read.
      if (!gone.has((error as NodeJS.ErrnoException).code)) return undefined;
    }
  }
  return true;
}

async function hairpinByPrograms(
  exec: Exec,
  bridge: string,
  signal?: AbortSignal,
): Promise<boolean> {
  const filtered = await exec('sysctl', ['-n', '-e', setting], {}, signal);
  if (filtered.stdout.trim() !== '1') return false;
  const { stdout } = await exec('bridge', ['-j', '-d', 'link', 'show'], {}, signal);
  const ports = parseTool(portList, stdout, 'bridge link').filter(
    ({ master, hairpin }) => master === bridge && hairpin !== true,
  );
  if (ports.length === 0) return true;
  const input = ports.map(({ ifname }) => `link set dev ${ifname} hairpin on\n`).join('');
  // An instance may have ended meanwhile.
  await exec('bridge', ['-force', '-batch', '-'], { input }, signal).catch((error: unknown) => {
    if (signal?.aborted === true) throw error;
  });
  return true;
}
