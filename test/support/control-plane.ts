import { execPath } from 'node:process';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { operatorsGroup } from '../../src/apiserver/auth/authorize.ts';
import { ensureCredentials, writePrivate } from '../../src/controlplane/credentials.ts';
import { kubeconfig } from '../../src/controlplane/kubeconfig.ts';
import { leaderPath, leaderRecords } from '../../src/registry/records/leader.ts';
import type { Box } from './box.ts';
import { output } from './command.ts';
import { ControlPlaneProcess } from './control-plane-process.ts';
import { eventually } from './eventually.ts';
import { prepareApiServer } from './foreign-api-server.ts';
import { Kubectl } from './kubectl.ts';

/** Where a control plane is. Plain data, so that it can be handed to other processes. */
export interface ControlPlanePlace {
  /** Certificates, kubeconfigs, etcd's data and logs. */
  readonly directory: string;
  /** By which hosts and tests reach it. */
  readonly address: string;
  readonly etcdPort: number;
  readonly apiPort: number;
  /** Where the operators look for an authority that issues certificates; nothing needs to be there. Default: nowhere. */
  readonly acmePort?: number;
  /** The bundle that its programs run. */
  readonly binary: string;
  /** An administrator's kubeconfig of an API server that is there already. Without: nap's own is started. */
  readonly kubeconfig?: string;
}

/** Where agents tell their metrics, within their hosts. */
export const agentHealthPort = 9_100;

/** etcd, the API server and two operators, each a process of its own that can be killed, frozen and restarted. */
export class ControlPlane {
  readonly place: ControlPlanePlace;
  readonly etcd: ControlPlaneProcess;
  /** nap's own API server; never started where another one is used. */
  readonly apiServer: ControlPlaneProcess;
  readonly operators: readonly ControlPlaneProcess[];
  readonly kubectl: Kubectl;

  constructor(place: ControlPlanePlace) {
    this.place = place;
    const { directory, address, etcdPort, apiPort, binary } = place;
    const logs = join(directory, 'processes');
    const pki = (name: string): string => join(directory, 'pki', name);
    const peer = `http://${address}:${etcdPort + 1}`;
    this.etcd = new ControlPlaneProcess(logs, 'etcd', [
      ...['etcd', '--name', 'nap', '--data-dir', join(directory, 'etcd')],
      ...['--listen-client-urls', this.etcdUrl, '--advertise-client-urls', this.etcdUrl],
      ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer],
      ...['--initial-cluster', `nap=${peer}`, '--logger', 'zap', '--log-level', 'warn'],
      ...['--cert-file', pki('etcd/server.crt'), '--key-file', pki('etcd/server.key')],
      ...['--trusted-ca-file', pki('etcd/ca.crt'), '--client-cert-auth'],
    ]);
    this.apiServer = new ControlPlaneProcess(logs, 'apiserver', [
      ...[execPath, binary, 'apiserver', '--listen', address, '--port', String(apiPort)],
      ...['--client-ca', pki('api/ca.crt')],
      ...['--cert', pki('api/server.crt'), '--key', pki('api/server.key')],
      ...this.#etcdFlags('client'),
    ]);
    this.operators = [1, 2].map(
      (n) =>
        new ControlPlaneProcess(logs, `operator-${n}`, [
          ...[execPath, binary, 'operator', '--kubeconfig', join(directory, 'operator.kubeconfig')],
          // Distinct command lines: they tell the processes apart.
          ...['--health-address', address, '--health-port', String(apiPort + n)],
          ...this.#acmeFlags(),
          ...this.#etcdFlags('client'),
        ]),
    );
    this.kubectl = new Kubectl(
      place.kubeconfig ?? join(directory, 'admin.kubeconfig'),
      join(directory, 'kubectl'),
    );
  }

  /** Whether the API server is not ours to start and stop. */
  get foreign(): boolean {
    return this.place.kubeconfig !== undefined;
  }

  /** Files of a certificate for its address, of the key, and of the root. */
  get serverTls(): { readonly cert: string; readonly key: string; readonly ca: string } {
    const file = (name: string): string => join(this.place.directory, 'pki/api', name);
    return { cert: file('server.crt'), key: file('server.key'), ca: file('ca.crt') };
  }

  get etcdUrl(): string {
    return `https://${this.place.address}:${this.place.etcdPort}`;
  }

  get processes(): readonly ControlPlaneProcess[] {
    return [this.etcd, ...(this.foreign ? [] : [this.apiServer]), ...this.operators];
  }

  /** Makes certificates and starts everything; resolves when the API is ready. */
  async up(): Promise<void> {
    const { directory, address, apiPort } = this.place;
    await mkdir(directory, { recursive: true });
    const credentials = await ensureCredentials({
      directory: join(directory, 'pki'),
      hosts: [address],
      operatorGroups: [operatorsGroup],
      now: Date.now(),
    });
    await this.etcd.start();
    if (this.foreign) {
      await prepareApiServer(this.kubectl, join(directory, 'operator.kubeconfig'));
      for (const operator of this.operators) await operator.start();
      return;
    }
    const api = `https://${address}:${apiPort}`;
    const write = (user: 'admin' | 'operator'): Promise<void> =>
      writePrivate(
        join(directory, `${user}.kubeconfig`),
        kubeconfig(api, `nap-${user}`, credentials[user]),
      );
    await Promise.all([write('admin'), write('operator')]);
    await this.apiServer.start();
    await this.apiReady();
    for (const operator of this.operators) await operator.start();
  }

  /** Ends everything, roughly. */
  async down(): Promise<void> {
    await Promise.all(this.processes.map((each) => each.end()));
  }

  /** Waits until the API server says that it is ready. */
  async apiReady(withinMs = 30_000): Promise<void> {
    await eventually(
      'the API server is ready',
      async () => (await this.kubectl.try(['get', '--raw', '/readyz'])).code === 0,
      withinMs,
    );
  }

  /**
   * The operator that leads: the one that speaks in its log under the name in the registry's record, each life of it under
   * another one. The Lease of Kubernetes is a note for people, and may be late.
   */
  async leader(withinMs = 30_000): Promise<ControlPlaneProcess> {
    return eventually(
      'a living operator leads',
      async () => {
        const identity = await this.#leaderIdentity();
        for (const operator of this.operators) {
          if (identity === undefined || (await operator.pid()) === undefined) continue;
          if (speaks(identity, await operator.said())) return operator;
        }
        return undefined;
      },
      withinMs,
      200,
    );
  }

  /** Which operator writes decisions; undefined while none does. */
  async #leaderIdentity(): Promise<string | undefined> {
    const text = await this.etcdctl('get', leaderPath, '--print-value-only');
    return text.trim() === '' ? undefined : leaderRecords.decode(text.trim()).operator;
  }

  /** Waits until so many operators could lead at once (or do). */
  async fitOperators(count: number): Promise<void> {
    await eventually(
      `${count} operators are fit to lead`,
      async () => {
        const records = await this.etcdctl(
          ...['get', '/nap/v1/candidates/', '--prefix', '--print-value-only'],
        );
        return records.split('"fit":true').length - 1 === count;
      },
      60_000,
      200,
    );
  }

  /** Has an operator on a host of the box lead, and one outside of it stand by. The one on the host is not restarted. */
  async leadFrom(box: Box, host: string): Promise<void> {
    for (const operator of this.operators) await operator.end('SIGTERM');
    const [first, standby] = this.operators;
    if (first === undefined || standby === undefined) throw new Error('there are no two operators');
    const command = first.command.map((word, i) =>
      first.command[i - 1] === '--health-address' ? '127.0.0.1' : word,
    );
    const log = join(this.place.directory, 'processes', `operator-on-${host}.log`);
    const detached = 'log=$1; shift; setsid "$@" >"$log" 2>&1 </dev/null &';
    await box.run(host, 'sh', '-c', detached, 'operator', log, ...command);
    await eventually(
      `the operator on ${host} leads`,
      async () => {
        const identity = await this.#leaderIdentity();
        return identity !== undefined && speaks(identity, await readFile(log, 'utf8'));
      },
      60_000,
      200,
    );
    await this.fitOperators(1);
    await standby.start();
    await this.fitOperators(2);
  }

  /** The command that is a host's agent. */
  agentCommand(host: string, metadata: string): string[] {
    return [
      ...[execPath, this.place.binary, 'agent', '--name', host, '--metadata', metadata],
      // Each host has a network of its own.
      ...['--health-port', String(agentHealthPort)],
      ...this.#etcdFlags('agent'),
    ];
  }

  /** Standard output of etcdctl. @throws {CommandError} */
  etcdctl(...args: readonly string[]): Promise<string> {
    const pki = (name: string): string => join(this.place.directory, 'pki/etcd', name);
    return output(
      [
        ...['etcdctl', `--endpoints=${this.etcdUrl}`, `--cacert=${pki('ca.crt')}`],
        ...[`--cert=${pki('client.crt')}`, `--key=${pki('client.key')}`, ...args],
      ],
      { env: { ETCDCTL_API: '3' } },
    );
  }

  /** Keys under a prefix. */
  async keys(prefix: string): Promise<string[]> {
    const text = await this.etcdctl('get', prefix, '--prefix', '--keys-only');
    return text.split('\n').filter((line) => line !== '');
  }

  #acmeFlags(): string[] {
    const { address, acmePort } = this.place;
    if (acmePort === undefined) return [];
    return [
      ...['--acme-directory', `https://${address}:${acmePort}/dir`, '--acme-agree-tos'],
      ...['--acme-ca-file', this.serverTls.ca, '--acme-email', 'ops@example.com'],
    ];
  }

  #etcdFlags(user: 'client' | 'agent'): string[] {
    const pki = (name: string): string => join(this.place.directory, 'pki/etcd', name);
    return [
      ...['--etcd', this.etcdUrl, '--etcd-ca', pki('ca.crt')],
      ...['--etcd-cert', pki(`${user}.crt`), '--etcd-key', pki(`${user}.key`)],
    ];
  }
}

/** Whether an operator of this name wrote the log: each line says who speaks. */
function speaks(identity: string, log: string): boolean {
  return log.includes(`"operator":"${identity}"`);
}
