import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Store } from '../../src/registry/store.ts';
import { Box } from '../../test/support/box.ts';
import { output } from '../../test/support/command.ts';
import { ControlPlane } from '../../test/support/control-plane.ts';
import { openTestStore } from '../../test/support/etcd-store.ts';

export const benchHosts = ['h1', 'h2', 'h3'] as const;
/** An image with busybox, built from this machine's packages. */
export const benchImage = 'nap-demo/guestbook:1';

/** A service that does nothing, on a host. Programs of this machine are run in its containers' networks. */
export function sleeper(host: string) {
  return {
    image: benchImage,
    entrypoint: ['sleep', '1000000'],
    stopSignal: 'SIGKILL',
    placement: { machineMetadata: { host } },
  };
}

const root = new URL('../..', import.meta.url).pathname;
const directory = join(root, '.nap', 'bench');

/** Three hosts with engines, the control plane, an agent on each host, and the image on every engine. */
export class BenchCluster {
  readonly box = new Box({ name: 'bench', net: '10.97.0', directory: join(directory, 'box') });
  readonly control = new ControlPlane({
    directory: join(directory, 'control'),
    address: this.box.outside,
    etcdPort: 12579,
    apiPort: 16643,
    binary: join(root, 'dist', 'nap.js'),
  });

  /** Clears away what a run that was broken off has left, and starts everything. */
  async up(): Promise<void> {
    await this.down();
    await this.box.up(benchHosts.length);
    await this.control.up();
    for (const host of benchHosts) {
      await this.box.agent(host, this.control.agentCommand(host, `host=${host}`));
    }
    await output([
      join(root, 'hack/demo/images'),
      ...benchHosts.map((host) => this.box.socket(host)),
    ]);
    const { kubectl } = this.control;
    for (const host of benchHosts) {
      await kubectl.run('wait', '--for=create', `host/${host}`, '--timeout=60s');
      await kubectl.wait(`host/${host}`);
    }
  }

  /** A connection to the registry, as an agent has it. Close it. */
  async openStore(): Promise<Store> {
    const pki = (name: string): Promise<string> =>
      readFile(join(this.control.place.directory, 'pki/etcd', name), 'utf8');
    const [ca, cert, key] = [await pki('ca.crt'), await pki('client.crt'), await pki('client.key')];
    return openTestStore(this.control.etcdUrl, { tls: { ca, cert, key } });
  }

  async down(): Promise<void> {
    await this.control.down();
    await this.box.down();
    await rm(directory, { recursive: true, force: true });
  }
}
