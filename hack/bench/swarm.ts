import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Box } from '../../test/support/box.ts';
import { eventually } from '../../test/support/eventually.ts';
import { benchHosts, benchImage } from './bench-cluster.ts';

/**
 * Swarm mode on the same engines: h1 manages, all work. Swarm asks a registry for each task's image, so there is one on this
 * machine; without IPVS in the kernel its virtual IPs do not work, hence `--endpoint-mode dnsrr`.
 */
export class Swarm {
  readonly #box: Box;
  #registry: ChildProcess | undefined;
  #image = '';

  constructor(box: Box) {
    this.#box = box;
  }

  async up(): Promise<void> {
    const port = 5097;
    const directory = join(this.#box.place.directory, '..', 'registry');
    await mkdir(directory, { recursive: true });
    const config = join(directory, 'config.yml');
    await writeFile(
      config,
      `version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: ${directory}/data}}\nhttp: {addr: "${this.#box.outside}:${port}"}\n`,
    );
    this.#registry = spawn('docker-registry', ['serve', config], { stdio: 'ignore' });
    this.#image = `${this.#box.outside}:${port}/bench:1`;
    await eventually(
      'the registry answers',
      () => fetch(`http://${this.#box.outside}:${port}/v2/`).then((r) => r.ok),
      10_000,
    );
    const [manager, ...workers] = benchHosts;
    await this.#box.docker(manager, 'tag', benchImage, this.#image);
    await this.#box.docker(manager, 'push', this.#image);
    for (const worker of workers) await this.#box.docker(worker, 'pull', this.#image);
    await this.#box.docker(
      manager,
      'swarm',
      'init',
      '--advertise-addr',
      this.#box.address(manager),
    );
    const token = (await this.#box.docker(manager, 'swarm', 'join-token', '-q', 'worker')).trim();
    for (const worker of workers) {
      await this.#box.docker(worker, 'swarm', 'join', '--token', token, this.#box.address(manager));
    }
    await this.#box.docker(manager, 'network', 'create', '-d', 'overlay', 'bench');
  }

  /** Makes a service; returns when Swarm has taken the order. */
  async create(name: string, replicas: number): Promise<void> {
    await this.#box.docker(
      benchHosts[0],
      ...[
        'service',
        'create',
        '--detach',
        '--quiet',
        '--name',
        name,
        '--replicas',
        String(replicas),
      ],
      ...['--network', 'bench', '--endpoint-mode', 'dnsrr', this.#image, 'sleep', '1000000'],
    );
  }

  /** Makes a service of one task, on `host`, whose ports all hosts answer on; returns its container. */
  async publish(
    name: string,
    host: string,
    ports: readonly number[],
  ): Promise<{ readonly host: string; readonly id: string }> {
    await this.#box.docker(
      benchHosts[0],
      ...['service', 'create', '--quiet', '--name', name],
      ...['--constraint', `node.hostname==${host}`],
      ...ports.flatMap((port) => ['--publish', `published=${port},target=${port},mode=ingress`]),
      ...[this.#image, 'sleep', '1000000'],
    );
    const filter = `label=com.docker.swarm.service.name=${name}`;
    const id = await this.#box.docker(host, 'ps', '-q', '--no-trunc', '--filter', filter);
    return { host, id: id.trim() };
  }

  /** Hosts of the running tasks. */
  async hostsOf(name: string): Promise<string[]> {
    const text = await this.#box.docker(
      benchHosts[0],
      ...['service', 'ps', name, '--filter', 'desired-state=running', '--format', '{{.Node}}'],
    );
    return text.trim().split('\n');
  }

  /** Removes a service and waits until its containers are gone. */
  async remove(name: string): Promise<void> {
    await this.#box.docker(benchHosts[0], 'service', 'rm', name);
    await eventually(
      'the containers are gone',
      async () => {
        for (const host of benchHosts) {
          const left = await this.#box.docker(
            host,
            'ps',
            '-aq',
            '--filter',
            'label=com.docker.swarm.task',
          );
          if (left.trim() !== '') return false;
        }
        return true;
      },
      60_000,
    );
  }

  /** Whether all workers are known as ready. */
  async ready(): Promise<boolean> {
    const text = await this.#box.docker(benchHosts[0], 'node', 'ls', '--format', '{{.Status}}');
    return text
      .trim()
      .split('\n')
      .every((status) => status === 'Ready');
  }

  async down(): Promise<void> {
    for (const host of [...benchHosts].reverse()) {
      await this.#box.tryDocker(host, ['swarm', 'leave', '--force']);
    }
    this.#registry?.kill('SIGKILL');
    await rm(join(this.#box.place.directory, '..', 'registry'), { recursive: true, force: true });
  }
}
