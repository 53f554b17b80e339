import { existsSync } from 'node:fs';
import { cp, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { networkConfigPath } from '../../src/registry/records/subnet.ts';
import { Box } from '../support/box.ts';
import { output } from '../support/command.ts';
import { ControlPlane } from '../support/control-plane.ts';
import { eventually } from '../support/eventually.ts';
import { clearApiServer } from '../support/foreign-api-server.ts';
import { boxPlace, directory, hosts, otherToolsImage, planePlace, toolsImage } from './place.ts';
import { importTools, toolsTar } from './tools-image.ts';

const repository = new URL('../..', import.meta.url).pathname;
const lock = `${directory}.lock`;

/**
 * One cluster for the whole run: three hosts in a box, a control plane of separate processes, an agent on each host. What a
 * crashed run left behind is removed first. With NAP_E2E_KEEP=1 the cluster stays, to be looked at. NAP_E2E_NETWORK is the network
 * config (JSON) of the overlay, for a run over an encrypted one, one with IPv6, or one with direct routing.
 */
export async function setup(): Promise<() => Promise<void>> {
  await takeLock();
  const box = new Box(boxPlace);
  const plane = new ControlPlane(planePlace);
  const remove = async (): Promise<void> => {
    await plane.down();
    if (plane.foreign) await clearApiServer(plane.kubectl, hosts);
    await box.down();
    await rm(directory, { recursive: true, force: true, maxRetries: 5 });
  };
  await remove();
  try {
    await bundle();
    await box.up(hosts.length);
    await Promise.all([plane.up(), loadImages(box)]);
    const network = process.env['NAP_E2E_NETWORK'];
    if (network !== undefined) await plane.etcdctl('put', networkConfigPath, network);
    for (const [i, host] of hosts.entries()) {
      await box.agent(host, plane.agentCommand(host, `zone=z${i + 1}`));
    }
    await eventually(
      'all hosts are ready',
      async () => {
        for (const host of hosts) await plane.kubectl.wait(`host/${host}`, 'Ready', 5);
        return true;
      },
      60_000,
      200,
    );
  } catch (error) {
    await remove();
    await rm(lock, { force: true });
    throw error;
  }
  return async () => {
    if (process.env['NAP_E2E_KEEP'] === undefined) await remove();
    await rm(lock, { force: true });
  };
}

/** Two runs at once would tear each other's hosts down. */
async function takeLock(): Promise<void> {
  const holder = Number(await readFile(lock, 'utf8').catch(() => ''));
  if (holder > 1 && existsSync(`/proc/${holder}`)) {
    const line = await readFile(`/proc/${holder}/cmdline`, 'utf8').catch(() => '');
    if (line.includes('vitest')) {
      throw new Error(`another end-to-end run is going on (process ${holder})`);
    }
  }
  await writeFile(lock, String(process.pid));
}

/** A copy of the bundle: the hosts go on with it while the working tree is built anew. */
async function bundle(): Promise<void> {
  if (!existsSync(join(repository, 'dist/nap.js'))) {
    await output(['make', '-C', repository, 'build'], { timeoutMs: 300_000 });
  }
  await mkdir(directory, { recursive: true });
  await cp(join(repository, 'dist'), join(directory, 'dist'), { recursive: true });
  // The bundle is an ES module; only a package.json beside it says so.
  await writeFile(join(directory, 'package.json'), '{"type":"module"}');
}

async function loadImages(box: Box): Promise<void> {
  const root = join(directory, 'tools');
  await mkdir(join(root, 'bin'), { recursive: true });
  await mkdir(join(root, 'tmp'), { recursive: true });
  const busybox = (await output(['sh', '-c', 'command -v busybox'])).trim();
  await cp(busybox, join(root, 'bin/busybox'), { dereference: true });
  const applets = (await output([busybox, '--list'])).split('\n');
  for (const applet of applets.filter((name) => name !== '' && name !== 'busybox')) {
    await symlink('busybox', join(root, 'bin', applet));
  }
  // busybox is linked statically and cannot look names up; curl does it as all programs do.
  const libraries = await output(['sh', '-c', 'ldd "$(command -v curl)"']);
  const paths = [...libraries.matchAll(/(\/\S+) \(0x/g)].map(([, path]) => path ?? '');
  const curl = (await output(['sh', '-c', 'command -v curl'])).trim();
  for (const path of paths) {
    await cp(path, join(root, path), { dereference: true, recursive: true });
  }
  await cp(curl, join(root, 'bin/curl'), { dereference: true });
  await output(['tar', '-C', root, '-cf', toolsTar, '.']);
  await Promise.all(
    hosts.map(async (host) => {
      await importTools(box, host);
      await box.docker(host, 'tag', toolsImage, otherToolsImage);
    }),
  );
  const sockets = hosts.map((host) => box.socket(host));
  // Three engines unpack at once, on a machine that may have other work.
  await output([join(repository, 'hack/demo/images'), '--test', ...sockets], {
    timeoutMs: 300_000,
  });
}
