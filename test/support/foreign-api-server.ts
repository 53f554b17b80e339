import { join } from 'node:path';
import { stringify } from 'yaml';
import { writePrivate } from '../../src/controlplane/credentials.ts';
import { CommandError } from './command.ts';
import type { Host } from '../../src/api/v1alpha1/host.ts';
import type { Kubectl, KubeObject } from './kubectl.ts';

const repository = new URL('../..', import.meta.url).pathname;

/** As much of a kubeconfig as is copied. */
interface Config {
  readonly clusters: readonly { readonly name: string; readonly cluster: object }[];
}

/**
 * Prepares an API server that is not ours as its administrator would: CRDs, namespace, role. Writes a kubeconfig for the
 * operator's ServiceAccount to `operatorConfig`.
 */
export async function prepareApiServer(kubectl: Kubectl, operatorConfig: string): Promise<void> {
  await kubectl.run('apply', '-k', join(repository, 'crds'));
  await kubectl.run('wait', '--for=condition=Established', '--timeout=30s', 'crd', ...crds);
  for (const file of ['namespace.yaml', 'rbac.yaml']) {
    await kubectl.run('apply', '-f', join(repository, 'manifests/operator', file));
  }
  const token = await tokenOf(kubectl, 'nap-system', 'nap-operator');
  const view = ['config', 'view', '--raw', '--minify', '-o', 'json'];
  const { clusters } = JSON.parse(await kubectl.run(...view)) as Config;
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters,
    users: [{ name: 'operator', user: { token } }],
    contexts: [{ name: 'operator', context: { cluster: clusters[0]?.name, user: 'operator' } }],
    'current-context': 'operator',
  };
  await writePrivate(operatorConfig, stringify(config));
}

/** A token for a day. `kubectl create token` would need kubectl 1.24; Debian 12 has 1.20. */
async function tokenOf(kubectl: Kubectl, namespace: string, account: string): Promise<string> {
  const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${account}/token`;
  const request = {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenRequest',
    spec: { expirationSeconds: 86_400 },
  };
  const args = ['create', '--raw', path, '-f', '-'];
  const outcome = await kubectl.try(args, JSON.stringify(request));
  if (outcome.code !== 0) throw new CommandError(['kubectl', ...args], outcome);
  return (JSON.parse(outcome.stdout) as { status: { token: string } }).status.token;
}

/**
 * Removes what a run left behind on an API server that lives longer than it. No operator runs then: finalizers are removed here.
 * Refuses, before it removes anything, where other hosts than `hosts` are ready: somebody works with that cluster.
 */
export async function clearApiServer(kubectl: Kubectl, hosts: readonly string[]): Promise<void> {
  const served = (await kubectl.try(['get', 'crd', ...crds])).code === 0;
  if (!served) return;
  const { items } = await kubectl.get<{ items: Host[] }>('hosts');
  const stranger = items.find(
    ({ metadata, status }) =>
      !hosts.includes(metadata.name) &&
      status?.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True'),
  );
  if (stranger !== undefined) {
    throw new Error(`this API server has a host ${stranger.metadata.name}: not one to test on`);
  }
  const left = await kubectl.get<{ items: KubeObject[] }>('projects,napsvc', '--all-namespaces');
  for (const { kind, metadata } of left.items) {
    const one = [`${kind.toLowerCase()}.nap.dev/${metadata.name}`, '-n', metadata.namespace ?? ''];
    const release = ['--type=merge', '-p', '{"metadata":{"finalizers":null}}'];
    await kubectl.try(['delete', ...one, '--wait=false']);
    await kubectl.try(['patch', ...one, ...release]);
  }
  await kubectl.run('delete', 'hosts', '--all', '--timeout=30s');
  await kubectl.try(['delete', 'lease', 'nap-operator', '--namespace', 'nap-system']);
}

const crds = ['projects.nap.dev', 'services.nap.dev', 'hosts.nap.dev'];
