import { randomBytes } from 'node:crypto';
import { formatIpv6, tryParseIpv6 } from '../../src/network/address/dual-stack.ts';
import { hostExec, hostFollow, type Exec, type Follow } from '../../src/agent/host/exec.ts';

/** A network namespace that plays a host: `eth0` on the shared network, `ctr` a namespace that plays its container. */
export interface TestHost {
  readonly name: string;
  /** On the shared network. */
  readonly address: string;
  /** Runs a program as if on that host. */
  readonly exec: Exec;
  readonly follow: Follow;
  /** Arguments that put a program there, to be followed by the program and its arguments. */
  readonly prefix: readonly string[];
}

/** A namespace behind a host's bridge. */
export interface TestContainer {
  readonly name: string;
  readonly ip: string;
  /** Empty in an overlay of IPv4 only. */
  readonly ipv6: string;
  readonly exec: Exec;
  readonly prefix: readonly string[];
}

/** Namespaces joined by one bridge, which lies in a namespace of its own. Needs root. */
export class TestNetwork {
  readonly #id = randomBytes(3).toString('hex');
  readonly #root = hostExec();
  readonly #names: string[] = [];
  readonly #mtu: number;
  readonly #prefix: string;
  #count = 0;
  #router: string | undefined;

  /** @param prefix first three numbers of the shared network. */
  constructor(options: { readonly mtu?: number; readonly prefix?: string } = {}) {
    this.#mtu = options.mtu ?? 1500;
    this.#prefix = options.prefix ?? '10.99.0';
  }

  async start(): Promise<void> {
    const sw = await this.#namespace('sw');
    await this.#run(sw, 'ip link add br0 type bridge', 'ip link set br0 up');
  }

  /** Adds a host with address `<prefix>.<n>` and a default route (to a router that does not exist). */
  async addHost(): Promise<TestHost> {
    const n = ++this.#count;
    const name = await this.#namespace(`h${n}`);
    const sw = this.#names[0] ?? '';
    const address = `${this.#prefix}.${n}`;
    const port = `p${n}`;
    await this.#root('ip', [
      'link',
      'add',
      'eth0',
      'mtu',
      String(this.#mtu),
      'netns',
      name,
      'type',
      'veth',
      'peer',
      'name',
      port,
      'mtu',
      String(this.#mtu),
      'netns',
      sw,
    ]);
    await this.#run(sw, `ip link set ${port} master br0`, `ip link set ${port} up`);
    await this.#run(
      name,
      `ip addr add ${address}/24 dev eth0`,
      'ip link set eth0 up',
      `ip route add default via ${this.#prefix}.254`,
    );
    const prefix = ['nsenter', `--net=/var/run/netns/${name}`];
    return { name, address, prefix, exec: hostExec(prefix), follow: hostFollow(prefix) };
  }

  /**
   * A bridge with the overlay's gateway address and a namespace with the next address behind it: what Docker would make. Its
   * `FORWARD` policy becomes Docker's.
   */
  async addContainer(
    host: TestHost,
    overlay: {
      readonly subnet: string;
      readonly gateway: string;
      readonly bridge: string;
      readonly mtu: number;
      readonly ipv6Subnet?: string;
      readonly ipv6Gateway?: string;
    },
    last = 2,
  ): Promise<TestContainer> {
    const { bridge, gateway, mtu, ipv6Gateway } = overlay;
    const length = overlay.subnet.split('/')[1] ?? '24';
    const ip = gateway.replace(/\d+$/, String(last));
    const name = await this.#namespace(`${host.name.slice(-2)}c${last}`);
    const existing = await host.exec('ip', ['link', 'show', 'dev', bridge]).catch(() => undefined);
    if (existing === undefined) {
      await this.#run(
        host.name,
        `ip link add ${bridge} type bridge`,
        `ip addr add ${gateway}/${length} dev ${bridge}`,
        `ip link set ${bridge} mtu ${mtu} up`,
        'iptables -P FORWARD DROP',
      );
    }
    await this.#root('ip', [
      'link',
      'add',
      'eth0',
      'mtu',
      String(mtu),
      'netns',
      name,
      'type',
      'veth',
      'peer',
      'name',
      `v${last}`,
      'mtu',
      String(mtu),
      'netns',
      host.name,
    ]);
    await this.#run(host.name, `ip link set v${last} master ${bridge}`, `ip link set v${last} up`);
    // Docker's own rules for a bridge, without which not even local containers reach anything.
    await this.#run(
      host.name,
      `iptables -A FORWARD -i ${bridge} ! -o ${bridge} -j ACCEPT`,
      `iptables -A FORWARD -o ${bridge} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`,
    );
    await this.#run(
      name,
      `ip addr add ${ip}/${length} dev eth0`,
      'ip link set eth0 up',
      `ip route add default via ${gateway}`,
    );
    const prefix = ['nsenter', `--net=/var/run/netns/${name}`];
    const container = { name, ip, ipv6: '', prefix, exec: hostExec(prefix) };
    if (ipv6Gateway === undefined) return container;
    const ipv6 = formatIpv6((tryParseIpv6(ipv6Gateway) ?? 0n) - 1n + BigInt(last));
    const bits = overlay.ipv6Subnet?.split('/')[1] ?? '120';
    if (existing === undefined) {
      await this.#run(
        host.name,
        `ip addr add ${ipv6Gateway}/${bits} dev ${bridge} nodad`,
        'ip6tables -P FORWARD DROP',
      );
    }
    await this.#run(
      name,
      `ip addr add ${ipv6}/${bits} dev eth0 nodad`,
      `ip route add default via ${ipv6Gateway}`,
    );
    return { ...container, ipv6 };
  }

  /** Adds a host in a network of its own behind a router, which is the others' default route. Its `eth0` leads there. */
  async addDistantHost(): Promise<TestHost> {
    const n = ++this.#count;
    const name = await this.#namespace(`h${n}`);
    const prefix = ['nsenter', `--net=/var/run/netns/${name}`];
    const host = { name, prefix, exec: hostExec(prefix), follow: hostFollow(prefix) };
    return { ...host, address: await this.plugIntoRouter(host, 'eth0') };
  }

  /** Joins a host to the router by one more device and gives it a default route there. Returns its address on it. */
  async plugIntoRouter(host: Pick<TestHost, 'name' | 'exec'>, device: string): Promise<string> {
    const router = (this.#router ??= await this.#addRouter());
    const n = ++this.#count;
    const port = `p${n}`;
    await this.#root('ip', [
      ...['link', 'add', device, 'mtu', String(this.#mtu), 'netns', host.name, 'type', 'veth'],
      ...['peer', 'name', port, 'mtu', String(this.#mtu), 'netns', router],
    ]);
    const net = `10.98.${n}`;
    await this.#run(router, `ip addr add ${net}.1/24 dev ${port}`, `ip link set ${port} up`);
    await this.#run(
      host.name,
      `ip addr add ${net}.2/24 dev ${device}`,
      `ip link set ${device} up`,
      `ip route replace default via ${net}.1`,
    );
    return `${net}.2`;
  }

  async #addRouter(): Promise<string> {
    const router = await this.#namespace('r');
    const sw = this.#names[0] ?? '';
    await this.#root('ip', [
      ...['link', 'add', 'eth0', 'mtu', String(this.#mtu), 'netns', router, 'type', 'veth'],
      ...['peer', 'name', 'pr', 'mtu', String(this.#mtu), 'netns', sw],
    ]);
    await this.#run(sw, 'ip link set pr master br0', 'ip link set pr up');
    await this.#run(
      router,
      `ip addr add ${this.#prefix}.254/24 dev eth0`,
      'ip link set eth0 up',
      'sysctl -qw net.ipv4.ip_forward=1',
    );
    return router;
  }

  /** Takes a host's cable out or puts it in. */
  async setCable(host: TestHost, connected: boolean): Promise<void> {
    await this.#run(host.name, `ip link set eth0 ${connected ? 'up' : 'down'}`);
  }

  /** What the network carries to a host: larger packets get lost on the way, and nobody says so. */
  async narrow(host: TestHost, bytes: number): Promise<void> {
    const n = host.address.split('.').at(-1) ?? '';
    await this.#run(this.#names[0] ?? '', `ip link set p${n} mtu ${bytes}`);
  }

  /** Removes every namespace and with it all that was in it. */
  async stop(): Promise<void> {
    for (const name of this.#names.splice(0).reverse()) {
      await this.#root('ip', ['netns', 'del', name]).catch(() => undefined);
    }
  }

  async #namespace(suffix: string): Promise<string> {
    const name = `nt${this.#id}-${suffix}`;
    await this.#root('ip', ['netns', 'add', name]);
    this.#names.push(name);
    await this.#run(name, 'ip link set lo up');
    return name;
  }

  async #run(namespace: string, ...lines: readonly string[]): Promise<void> {
    const exec = hostExec(['nsenter', `--net=/var/run/netns/${namespace}`]);
    for (const line of lines) {
      const [command = '', ...args] = line.split(' ');
      await exec(command, args);
    }
  }
}
