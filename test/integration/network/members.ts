import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { AddressBook } from '../../../src/agent/addresses/address-book.ts';
import { AddressFeed } from '../../../src/agent/addresses/address-feed.ts';
import { AddressWriter } from '../../../src/agent/addresses/address-writer.ts';
import type { Exec } from '../../../src/agent/host/exec.ts';
import { NetworkManager } from '../../../src/agent/host/network-manager.ts';
import type { NetworkProblem, OverlayInfo } from '../../../src/agent/host/network-options.ts';
import type { OwnedContainer } from '../../../src/agent/ownership.ts';
import { ServiceFeed } from '../../../src/agent/service-feed.ts';
import type { ServiceIdentity } from '../../../src/api/v1alpha1/names.ts';
import { parseCidr } from '../../../src/network/address/cidr.ts';
import { MemoryDatabase } from '../../../src/registry/memory/database.ts';
import { MemoryStore } from '../../../src/registry/memory/store.ts';
import {
  endpointRecords,
  serviceRecords,
  type ServiceRecord,
} from '../../../src/registry/records/index.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/telemetry/log.ts';
import {
  answersPort,
  clientCommand,
  seenIn,
  serverCommand,
  type CallOptions,
  type Seen,
} from '../../support/answers.ts';
import { TestNetwork, type TestContainer, type TestHost } from '../../support/netns.ts';

/** A host with the network parts of an agent. */
export interface Member {
  readonly host: TestHost;
  readonly overlay: OverlayInfo;
  readonly containers: readonly TestContainer[];
  manager: NetworkManager;
  services: ServiceFeed;
  /** Whose its containers are. Only with isolation. */
  book: AddressBook | undefined;
  problems: NetworkProblem[];
  stop: () => Promise<void>;
}

/** Hosts in namespaces that share a registry in memory. */
export class Members {
  readonly database = new MemoryDatabase();
  readonly store = new MemoryStore({ database: this.database });
  readonly network: TestNetwork;
  readonly #processes: ChildProcess[] = [];
  readonly #members: Member[] = [];

  readonly #isIsolated: boolean;

  /** @param isolation whether who may speak to whom is enforced; all containers are nobody's then until `own` says otherwise */
  constructor(prefix: string, isolation = false) {
    this.#isIsolated = isolation;
    this.network = new TestNetwork({ prefix });
  }

  start(): Promise<void> {
    return this.network.start();
  }

  async stop(): Promise<void> {
    for (const each of this.#processes) each.kill('SIGKILL');
    for (const member of this.#members) await member.stop();
    await this.network.stop();
  }

  /** @param at default: a new host of the shared network */
  async join(containers: number, at?: TestHost): Promise<Member> {
    const host = at ?? (await this.network.addHost());
    const parts = this.manage(host);
    const overlay = await parts.manager.ensure();
    if (parts.book !== undefined) parts.book.subnet = parseCidr(overlay.subnet);
    const made: TestContainer[] = [];
    for (let i = 0; i < containers; i++) {
      made.push(await this.network.addContainer(host, overlay, 2 + i));
    }
    const member = { host, overlay, containers: made, ...parts };
    this.#members.push(member);
    return member;
  }

  /**
   * An agent's network parts on a host.
   * @param address of the host, if it has several
   * @param exec by which the agent runs programs. Default: the host's
   */
  manage(
    host: TestHost,
    address?: string,
    exec: Exec = host.exec,
  ): Pick<Member, 'manager' | 'services' | 'book' | 'problems' | 'stop'> {
    const own = new MemoryStore({ database: this.database });
    const services = new ServiceFeed({ store: own, log: silentLogger, clock: systemClock });
    const problems: NetworkProblem[] = [];
    const common = { log: silentLogger, clock: systemClock };
    const feed = new AddressFeed({ store: own, ...common });
    const book = new AddressBook('nap', () => systemClock.monotonic());
    const writer = new AddressWriter({
      ...{ host: host.name, store: own, book, feed, licensed: () => true },
      ...common,
    });
    const manager = new NetworkManager({
      store: own,
      log: silentLogger,
      services,
      address,
      ...(this.#isIsolated && { addresses: { book, feed } }),
      exec,
      follow: host.follow,
      onProblem: (problem) => problems.push(problem),
    });
    const controller = new AbortController();
    const parts = [manager, services, ...(this.#isIsolated ? [feed, writer] : [])];
    const running = Promise.all(parts.map((part) => part.run(controller.signal)));
    const stop = async (): Promise<void> => {
      controller.abort();
      await running;
    };
    return { manager, services, book: this.#isIsolated ? book : undefined, problems, stop };
  }

  /** Says whose containers of a member are, all at once; the others are nobody's. */
  own(member: Pick<Member, 'book'>, owners: ReadonlyMap<TestContainer, string>): void {
    const { book } = member;
    for (const [{ name, ip }, owner] of owners) {
      book?.update(name, [
        {
          ...{ id: name, key: { ...keyOf(owner), ordinal: '1' }, state: 'running' },
          addresses: { nap: ip },
        } as unknown as OwnedContainer,
      ]);
    }
    book?.complete();
  }

  async putService(service: string, record: Partial<ServiceRecord>): Promise<void> {
    const key = serviceRecords.path(keyOf(service));
    const value = serviceRecords.encode({ uid: 'u', ports: [], links: [], ...record });
    await this.store.commit([], [{ type: 'put', key, value }]);
  }

  async removeService(service: string): Promise<void> {
    const key = serviceRecords.path(keyOf(service));
    await this.store.commit([], [{ type: 'delete', key }]);
  }

  /** @param ip undefined: it serves no more */
  async setEndpoint(service: string, ordinal: number, ip: string | undefined): Promise<void> {
    const key = endpointRecords.path({ ...keyOf(service), ordinal: String(ordinal) });
    const value = endpointRecords.encode({ host: 'h', ipv4_addr: ip ?? '', ports: [] });
    await this.store.commit(
      [],
      [ip === undefined ? { type: 'delete', key } : { type: 'put', key, value }],
    );
  }

  /** Starts a server in a container. */
  async serve(container: TestContainer): Promise<ChildProcess> {
    return this.#server(container.prefix, serverCommand(container.ip));
  }

  /** Starts a server on a host itself. */
  listen(host: TestHost, port: number): Promise<ChildProcess> {
    return this.#server(host.prefix, serverCommand(host.address, port));
  }

  async #server(prefix: readonly string[], command: readonly string[]): Promise<ChildProcess> {
    const [program = '', ...args] = [...prefix, ...command];
    const child = spawn(program, args);
    this.#processes.push(child);
    await once(child.stdout, 'data');
    return child;
  }

  /**
   * Sends to `address` by UDP, from one socket and without a pause, until `stop`. `answers`: who has answered, in order.
   */
  converse(
    from: Pick<TestHost, 'prefix'>,
    address: string,
    port = answersPort,
  ): { readonly answers: () => readonly string[]; readonly stop: () => void } {
    const script = `const u = require('dgram').createSocket('udp4').on('error', () => undefined);
u.on('message', (m) => process.stdout.write(m));
u.bind(0, () => setInterval(() => u.send('x', ${port}, '${address}'), 50));`;
    const [program = '', ...args]: readonly string[] = [
      ...from.prefix,
      process.execPath,
      '-e',
      script,
    ];
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#processes.push(child);
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (more: string) => (text += more));
    return {
      answers: () => seenIn(text).map(({ server }) => server),
      stop: () => {
        child.kill('SIGKILL');
      },
    };
  }

  async call(
    from: Pick<TestHost, 'exec'>,
    address: string,
    options: CallOptions,
  ): Promise<readonly Seen[]> {
    const [program = '', ...args] = clientCommand(address, options);
    return seenIn((await from.exec(program, args, { timeoutMs: 30_000 })).stdout);
  }
}

/** "db" of project "shop", "blog/db", or with a namespace before them. */
function keyOf(name: string): ServiceIdentity {
  const [service = '', project = 'shop', namespace = 'default'] = name.split('/').reverse();
  return { namespace, project, service };
}
