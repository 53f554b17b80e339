import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { Command, Option } from 'commander';
import { operatorsGroup } from '../apiserver/auth/authorize.ts';
import { startApiServer } from '../apiserver/server.ts';
import { ensureCredentials, writePrivate } from '../controlplane/credentials.ts';
import { EtcdProcess } from '../controlplane/etcd-process.ts';
import { kubeconfig } from '../controlplane/kubeconfig.ts';
import { KubeClient } from '../kube/client.ts';
import { KubeConfig } from '../kube/config.ts';
import { isAlreadyExists } from '../kube/errors.ts';
import { namespaces } from '../kube/resources.ts';
import { openEtcdStore } from '../registry/etcd/store.ts';
import { systemClock } from '../runtime/clock.ts';
import { supervise, type Task } from '../runtime/supervise.ts';
import type { Logger } from '../telemetry/log.ts';
import { addAgentFlags, serveAsAgent, type AgentFlags } from './agent.ts';
import { crds } from './crds.ts';
import {
  addEtcdFlags,
  addLogFlags,
  etcdConnection,
  ipv4,
  loggerFor,
  portNumber,
  type EtcdConnection,
  type EtcdFlags,
  type LogFlags,
} from './flags.ts';
import { serveAsOperator } from './operator.ts';
import { runUntilSignal } from './signals.ts';
import { version } from './version.ts';

interface UpFlags extends AgentFlags {
  readonly dataDir: string;
  readonly kubeconfig?: string;
  readonly listen: string;
  readonly apiPort: number;
  readonly etcdPort: number;
  readonly etcdBinary: string;
  readonly agent: boolean;
}

const systemNamespace = 'nap-system';

/** `nap up` */
export function upCommand(): Command {
  const command = new Command('up')
    .summary('run all of nap on this machine')
    .description(
      'Runs etcd, the Kubernetes API, the operator and an agent for this machine’s Docker, and writes a kubeconfig.\n' +
        'Ctrl-C stops them and leaves containers running; the next `nap up` goes on where this one ended.',
    )
    .option('--data-dir <dir>', 'records, certificates and kubeconfig', join(homedir(), '.nap'))
    .option('--kubeconfig <file>', 'where to write the kubeconfig (default: <data-dir>/kubeconfig)')
    .option(
      '--listen <ipv4>',
      'address for the API and etcd; another than loopback lets further hosts join',
      ipv4,
      '127.0.0.1',
    )
    .option('--api-port <port>', 'port of the API', portNumber, 6443)
    .option('--etcd-port <port>', 'port of etcd (and the next one, on loopback)', portNumber, 2379)
    .addOption(new Option('--etcd-binary <program>', 'the etcd program').default('etcd'))
    .option('--no-agent', 'run no containers on this machine');
  addLogFlags(addEtcdFlags(addAgentFlags(command), 'use this etcd instead of starting one'));
  return command.action(async (flags: UpFlags & EtcdFlags & LogFlags) => {
    const log = loggerFor(flags);
    await runUntilSignal(log, (signal) => up(flags, log, signal));
  });
}

async function up(flags: UpFlags & EtcdFlags, log: Logger, signal: AbortSignal): Promise<void> {
  const clock = systemClock;
  const dataDir = resolve(flags.dataDir);
  const credentials = await ensureCredentials({
    directory: join(dataDir, 'pki'),
    hosts: [flags.listen],
    operatorGroups: [operatorsGroup],
    now: clock.now(),
  });
  const etcd = flags.etcd === undefined ? ownEtcd(flags, dataDir, log) : undefined;
  await etcd?.start(signal);
  const connection: EtcdConnection =
    etcd === undefined
      ? await etcdConnection(flags)
      : { hosts: [etcd.url], tls: credentials.etcdClient };
  const store = await openEtcdStore({ ...connection, clock, log, random: Math.random });
  try {
    const api = await startApiServer({
      store,
      crds: crds(),
      tokens: [],
      tls: credentials.apiServer,
      listen: { host: flags.listen, port: flags.apiPort },
      log,
      clock,
      version,
    });
    const kubeconfigPath = resolve(flags.kubeconfig ?? join(dataDir, 'kubeconfig'));
    await writePrivate(kubeconfigPath, kubeconfig(api.url, 'nap-admin', credentials.admin));
    await makeSystemNamespace(kubeconfig(api.url, 'nap-admin', credentials.admin));
    const config = KubeConfig.fromString(kubeconfig(api.url, 'nap-operator', credentials.operator));
    const tasks: Task[] = [
      {
        name: 'operator',
        run: (stop) =>
          serveAsOperator(
            { config, store, log, hostTtlMs: flags.leaseTtl, namespace: systemNamespace },
            stop,
          ),
      },
    ];
    if (flags.agent) {
      tasks.push({ name: 'agent', run: (stop) => serveAsAgent(flags, store, log, stop) });
    }
    announce(flags, { kubeconfigPath, api: api.url, etcd, dataDir });
    try {
      await supervise(tasks, { log, clock }, signal);
    } finally {
      await config.close();
      await api.close();
    }
  } finally {
    await store.close();
    await etcd?.stop();
  }
}

/** The namespace of the operator's Lease. On a real cluster the manifests make it; the operator may not. */
async function makeSystemNamespace(admin: string): Promise<void> {
  const config = KubeConfig.fromString(admin);
  try {
    await new KubeClient(config).create(namespaces, {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: systemNamespace },
    });
  } catch (error) {
    if (!isAlreadyExists(error)) throw error;
  } finally {
    await config.close();
  }
}

function ownEtcd(flags: UpFlags, dataDir: string, log: Logger): EtcdProcess {
  const pki = join(dataDir, 'pki', 'etcd');
  return new EtcdProcess({
    binary: flags.etcdBinary,
    directory: join(dataDir, 'etcd'),
    address: flags.listen,
    port: flags.etcdPort,
    tls: {
      ca: join(pki, 'ca.crt'),
      cert: join(pki, 'server.crt'),
      key: join(pki, 'server.key'),
    },
    log,
    clock: systemClock,
  });
}

/** Tells the person at the terminal what runs and what to do with it. */
function announce(
  flags: UpFlags,
  is: { kubeconfigPath: string; api: string; etcd: EtcdProcess | undefined; dataDir: string },
): void {
  const lines = [
    `nap ${version} is up`,
    `  API         ${is.api}`,
    `  kubeconfig  ${is.kubeconfigPath}`,
    ...(is.etcd === undefined ? [] : [`  etcd        ${is.etcd.url}`]),
    '',
    `  export KUBECONFIG=${is.kubeconfigPath}`,
    '  kubectl get hosts',
    '',
  ];
  if (is.etcd !== undefined && !flags.listen.startsWith('127.')) {
    lines.push(
      `Further Docker hosts: copy ca.crt, agent.crt and agent.key from ${join(is.dataDir, 'pki', 'etcd')}`,
      'to the host, and run there:',
      `  nap agent --etcd ${is.etcd.url} --etcd-ca ca.crt --etcd-cert agent.crt --etcd-key agent.key`,
      '',
    );
  }
  process.stdout.write(lines.join('\n') + '\n');
}
