import { join, resolve } from 'node:path';
import { operatorsGroup } from '../apiserver/auth/authorize.ts';
import { startApiServer } from '../apiserver/server.ts';
import { ensureCredentials, writePrivate } from '../controlplane/credentials.ts';
import { DataDirectoryError, holdDataDirectory } from '../controlplane/data-directory.ts';
import { EtcdProcess } from '../controlplane/etcd-process.ts';
import { kubeconfig } from '../controlplane/kubeconfig.ts';
import { KubeConfig } from '../kube/config.ts';
import { openEtcdStore } from '../registry/etcd/store.ts';
import { systemClock } from '../runtime/clock.ts';
import { supervise, type Task } from '../runtime/supervise.ts';
import type { Logger } from '../telemetry/log.ts';
import { crds } from './crds.ts';
import {
  acmeOptions,
  etcdConnection,
  routerOptions,
  UsageError,
  type EtcdConnection,
  type EtcdFlags,
} from './flags.ts';
import { serveAsAgent, type AgentParts } from './serve-agent.ts';
import { serveAsOperator } from './serve-operator.ts';
import type { UpFlags } from './up-flags.ts';
import { version } from './version.ts';
import { withHealth } from './with-health.ts';

/** Runs the whole control plane, and an agent, until `signal` aborts. */
export async function up(
  flags: UpFlags & EtcdFlags,
  log: Logger,
  signal: AbortSignal,
): Promise<void> {
  const dataDir = resolve(flags.dataDir);
  const release = await holdDataDirectory(dataDir);
  const parts = ['operator', ...(flags.agent ? ['agent'] : [])];
  try {
    await withHealth(flags, log, parts, (health) => upIn(dataDir, flags, { log, health }, signal));
  } finally {
    release();
  }
}

async function upIn(
  dataDir: string,
  flags: UpFlags & EtcdFlags,
  { log, health }: Pick<AgentParts, 'log' | 'health'>,
  signal: AbortSignal,
): Promise<void> {
  const clock = systemClock;
  // A mistake in the flags is told before anything is started.
  const acme = await acmeOptions(flags);
  const pki = join(dataDir, 'pki');
  const credentials = await ensureCredentials({
    directory: pki,
    hosts: [flags.listen],
    operatorGroups: [operatorsGroup],
    now: clock.now(),
  }).catch((error: unknown) => {
    throw new DataDirectoryError(
      `cannot use the certificates in ${pki}: ${error instanceof Error ? error.message : String(error)}; ` +
        'put them back from a copy, or remove that directory to have new ones made (further hosts then need the new files)',
    );
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
    }).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
      throw new UsageError(
        `port ${String(flags.apiPort)} of ${flags.listen} is taken by another program: stop that, or take another with --api-port`,
      );
    });
    const kubeconfigPath = resolve(flags.kubeconfig ?? join(dataDir, 'kubeconfig'));
    await writePrivate(kubeconfigPath, kubeconfig(api.url, 'nap-admin', credentials.admin));
    const config = KubeConfig.fromString(kubeconfig(api.url, 'nap-operator', credentials.operator));
    const tasks: Task[] = [
      {
        name: 'operator',
        run: (stop) =>
          serveAsOperator(
            {
              config,
              store,
              log,
              hostTtlMs: flags.leaseTtl,
              virtualRange: flags.virtualIpRange,
              namespace: 'nap-system',
              router: routerOptions(flags),
              acme,
              health,
            },
            stop,
          ),
      },
    ];
    if (flags.agent) {
      tasks.push({
        name: 'agent',
        run: (stop) => serveAsAgent(flags, { store, log, health }, stop),
      });
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
