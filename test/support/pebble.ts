import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { Resolver } from 'node:dns/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { issue, makeAuthority } from '../../src/controlplane/authority.ts';
import { output } from './command.ts';
import { eventually } from './eventually.ts';

export interface PebbleOptions {
  /** Where it listens. */
  readonly address: string;
  /** Of its directory, of its management, of the name server that it asks, and of that one's management. */
  readonly ports: readonly [number, number, number, number];
  /** Where all names lead. */
  readonly resolveTo: string;
  /** The port that it asks for answers to challenges. */
  readonly httpPort: number;
  /** Life of the certificates that it issues, seconds. */
  readonly validitySeconds: number;
  /** Names that it has a policy against. */
  readonly blocked?: readonly string[];
  /** Files of its own https certificate, of the key to that, and of the root of both. Default: made here. */
  readonly tls?: { readonly cert: string; readonly key: string; readonly ca: string };
}

/** Pebble, the small authority that Let's Encrypt tests clients with, and the name server that comes with it. */
export class Pebble {
  readonly directory: string;
  /** PEM of the root that its own https is trusted by. */
  readonly ca: string;
  readonly #options: PebbleOptions;
  readonly #place: string;
  #children: ChildProcess[] = [];
  said = '';

  private constructor(options: PebbleOptions, place: string, ca: string) {
    this.#options = options;
    this.#place = place;
    this.ca = ca;
    this.directory = `https://${options.address}:${options.ports[0]}/dir`;
  }

  static async prepare(options: PebbleOptions): Promise<Pebble> {
    const { address, ports, httpPort, validitySeconds, blocked = [] } = options;
    const place = await mkdtemp(join(tmpdir(), 'nap-pebble-'));
    const tls = options.tls ?? (await ownTls(place, address));
    const config = {
      listenAddress: `${address}:${ports[0]}`,
      managementListenAddress: `${address}:${ports[1]}`,
      certificate: tls.cert,
      privateKey: tls.key,
      ...{ httpPort, tlsPort: 1, ocspResponderURL: '' },
      domainBlocklist: blocked,
      certificateValidityPeriod: validitySeconds,
    };
    await writeFile(join(place, 'config.json'), JSON.stringify({ pebble: config }));
    return new Pebble(options, place, await readFile(tls.ca, 'utf8'));
  }

  static async start(options: PebbleOptions): Promise<Pebble> {
    const pebble = await Pebble.prepare(options);
    await pebble.start();
    return pebble;
  }

  /** Starts it (again): it remembers nothing, and has other roots. */
  async start(): Promise<void> {
    const { address, ports, resolveTo } = this.#options;
    const dns = `${address}:${ports[2]}`;
    const none = ['-http01', '', '-https01', '', '-tlsalpn01', ''];
    this.#run('pebble-challtestsrv', [
      ...['-defaultIPv4', resolveTo, '-defaultIPv6', '', '-dns01', dns, ...none],
      ...['-management', `${address}:${ports[3]}`],
    ]);
    const resolver = new Resolver({ timeout: 1_000, tries: 1 });
    resolver.setServers([dns]);
    this.#run('pebble', ['-config', join(this.#place, 'config.json'), '-dnsserver', dns]);
    await eventually(
      'pebble answers',
      async () => {
        // A name that its name server did not know yet would be an answer, and the end of an order.
        await resolver.resolve4('pebble.test');
        return (await this.#get('/roots/0')) !== '';
      },
      20_000,
      50,
    );
  }

  /** PEM of the root of what it issues. */
  root(): Promise<string> {
    return this.#get('/roots/0');
  }

  /** How many orders were placed since it was made. */
  get orders(): number {
    return this.said.split('Added order').length - 1;
  }

  async stop(): Promise<void> {
    await Promise.all(
      this.#children.splice(0).map(async (child) => {
        if (child.exitCode !== null || child.signalCode !== null) return;
        const ended = new Promise((resolve) => child.once('exit', resolve));
        child.kill('SIGKILL');
        await ended;
      }),
    );
  }

  async remove(): Promise<void> {
    await this.stop();
    await rm(this.#place, { recursive: true });
  }

  #run(program: string, args: readonly string[]): void {
    const env = {
      ...process.env,
      PEBBLE_VA_NOSLEEP: '1',
      // Some nonces are refused without cause, as any authority may do; what was shown once has to be shown again.
      PEBBLE_WFE_NONCEREJECT: '10',
      PEBBLE_AUTHZREUSE: '0',
    };
    const child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => (this.said += text));
    }
    this.#children.push(child);
  }

  #get(path: string): Promise<string> {
    const { address, ports } = this.#options;
    const url = `https://${address}:${ports[1]}${path}`;
    return output(['curl', '--silent', '--show-error', '--insecure', '--fail', url]);
  }
}

async function ownTls(
  place: string,
  address: string,
): Promise<{ cert: string; key: string; ca: string }> {
  const root = await makeAuthority('pebble', Date.now());
  const own = await issue(root, { commonName: 'pebble', hosts: [address] }, Date.now());
  const files = { cert: join(place, 'cert'), key: join(place, 'key'), ca: join(place, 'ca') };
  await writeFile(files.cert, own.cert);
  await writeFile(files.key, own.key);
  await writeFile(files.ca, root.cert);
  return files;
}
