import { join } from 'node:path';
import { output, run, type CommandOptions, type Outcome } from './command.ts';

/** Where a cluster in a box is. Plain data, so that it can be handed to other processes. */
export interface BoxPlace {
  /** At most 6 characters. */
  readonly name: string;
  /** First three numbers of its /24 network. */
  readonly net: string;
  readonly directory: string;
}

/** A container as its engine lists it. */
export interface Container {
  readonly host: string;
  readonly id: string;
  readonly name: string;
  readonly running: boolean;
  readonly image: string;
  readonly namespace: string;
  readonly project: string;
  readonly service: string;
  readonly ordinal: string;
}

const script = new URL('../../hack/cluster', import.meta.url).pathname;

const listing = [
  '{{.ID}}',
  '{{.Names}}',
  '{{.State}}',
  '{{.Image}}',
  '{{.Label "nap.dev/namespace"}}',
  '{{.Label "nap.dev/project"}}',
  '{{.Label "nap.dev/service"}}',
  '{{.Label "nap.dev/ordinal"}}',
].join('\t');

/** A cluster in a box (hack/cluster), seen from outside. */
export class Box {
  readonly place: BoxPlace;

  constructor(place: BoxPlace) {
    this.place = place;
  }

  /** Address of this machine on the box's network. */
  get outside(): string {
    return `${this.place.net}.254`;
  }

  /** Address of a host. */
  address(host: string): string {
    return `${this.place.net}.${host.slice(1)}`;
  }

  socket(host: string): string {
    return `/run/nap-${this.place.name}/${host}/docker.sock`;
  }

  /** Log of the host's agent. */
  agentLog(host: string): string {
    return join(this.place.directory, host, 'agent.log');
  }

  engineLog(host: string): string {
    return join(this.place.directory, host, 'dockerd.log');
  }

  async up(hosts: number): Promise<void> {
    await this.#cluster('up', String(hosts));
  }

  async down(): Promise<void> {
    await this.#cluster('down');
  }

  /** Runs a command as the host's agent, now and after each boot. */
  async agent(host: string, command: readonly string[]): Promise<void> {
    await this.#cluster('agent', host, '--', ...command);
  }

  /** Unplugs the host's network cable. */
  async cut(host: string): Promise<void> {
    await this.#cluster('cut', host);
  }

  async heal(host: string): Promise<void> {
    await this.#cluster('heal', host);
  }

  /** Power off: agent, engine and containers die at once. */
  async kill(host: string): Promise<void> {
    await this.#cluster('kill', host);
  }

  async boot(host: string): Promise<void> {
    await this.#cluster('boot', host);
  }

  /** Standard output of a docker command against a host's engine. @throws {CommandError} */
  docker(host: string, ...args: readonly string[]): Promise<string> {
    return output(['docker', '-H', `unix://${this.socket(host)}`, ...args]);
  }

  /** A docker command that may fail. */
  tryDocker(host: string, args: readonly string[], options?: CommandOptions): Promise<Outcome> {
    return run(['docker', '-H', `unix://${this.socket(host)}`, ...args], options);
  }

  /** Runs a command on a host, whatever its exit code. */
  sh(host: string, command: readonly string[], options: CommandOptions = {}): Promise<Outcome> {
    return run([script, 'sh', host, ...command], { ...options, env: this.#env() });
  }

  /** Standard output of a command that must succeed on a host. @throws {CommandError} */
  run(host: string, ...command: readonly string[]): Promise<string> {
    return output([script, 'sh', host, ...command], { env: this.#env() });
  }

  /**
   * Sends a signal to the process of a host whose command line matches: the host has a process namespace of its own. The oldest
   * one: its children are called as it is until they have become another program.
   */
  async signal(host: string, signal: string, pattern: string): Promise<void> {
    const { code, stderr } = await this.sh(host, ['pkill', `-${signal}`, '-o', '-f', pattern]);
    if (code !== 0) throw new Error(`no process of ${host} matches ${pattern}: ${stderr}`);
  }

  /** The host's agent, by its number in the host's process namespace; undefined while there is none. */
  async agentPid(host: string): Promise<string | undefined> {
    const { stdout } = await this.sh(host, ['pgrep', '-o', '-f', 'nap.js agent']);
    return stdout.trim() || undefined;
  }

  /** All of nap's containers on `hosts`, stopped ones too, in the order of hosts and names. */
  async containers(
    hosts: readonly string[],
    filter: {
      readonly namespace?: string;
      readonly project?: string;
      readonly service?: string;
    } = {},
  ): Promise<Container[]> {
    const filters = Object.entries(filter).flatMap(([key, value]) => [
      '--filter',
      `label=nap.dev/${key}=${value}`,
    ]);
    const lists = await Promise.all(
      hosts.map(async (host) => {
        const text = await this.docker(
          host,
          ...['ps', '--all', '--no-trunc', '--filter', 'label=nap.dev/instance', ...filters],
          ...['--format', listing],
        );
        return text
          .split('\n')
          .filter((line) => line !== '')
          .map((line) => {
            const [id = '', name = '', state, image = '', ...names] = line.split('\t');
            const [namespace = '', project = '', service = '', ordinal = ''] = names;
            const running = state === 'running';
            return { host, id, name, running, image, namespace, project, service, ordinal };
          })
          .sort((a, b) => a.name.localeCompare(b.name));
      }),
    );
    return lists.flat();
  }

  /** Runs a command inside a container. @throws {CommandError} */
  exec(container: Pick<Container, 'host' | 'id'>, ...command: readonly string[]): Promise<string> {
    return this.docker(container.host, 'exec', container.id, ...command);
  }

  /**
   * Runs a program of this machine in a container's network: what it sends comes from the container's address, and
   * `127.0.0.11` is the container's own resolver.
   */
  async inNetworkOf(
    container: Pick<Container, 'host' | 'id'>,
    command: readonly string[],
  ): Promise<Outcome> {
    const { host } = container;
    return this.sh(host, [...(await this.#networkOf(container)), ...command]);
  }

  /** What to put before a program that goes on for longer, to run it in a host, or in the network of a container. */
  async prefix(place: string | Pick<Container, 'host' | 'id'>): Promise<readonly string[]> {
    const env = Object.entries(this.#env()).map(([name, value]) => `${name}=${value}`);
    const host = typeof place === 'string' ? place : place.host;
    const inner = typeof place === 'string' ? [] : await this.#networkOf(place);
    return ['env', ...env, script, 'sh', host, ...inner];
  }

  async #networkOf({ host, id }: Pick<Container, 'host' | 'id'>): Promise<readonly string[]> {
    // Asked each time: it changes when the container is started again.
    const pid = (await this.docker(host, 'inspect', '--format', '{{.State.Pid}}', id)).trim();
    if (pid === '0') throw new Error(`container ${id} does not run`);
    return ['nsenter', `--net=/proc/${pid}/ns/net`];
  }

  #cluster(...args: readonly string[]): Promise<string> {
    return output([script, ...args], { env: this.#env(), timeoutMs: 120_000 });
  }

  #env(): Record<string, string> {
    return {
      NAP_BOX: this.place.name,
      NAP_BOX_NET: this.place.net,
      NAP_BOX_DIR: this.place.directory,
    };
  }
}
