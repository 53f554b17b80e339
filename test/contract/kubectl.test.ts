/* eslint-disable @typescript-eslint/no-unsafe-member-access, @typescript-eslint/no-unsafe-assignment -- answers are looked into as they come off the wire */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { eventually } from '../support/eventually.ts';
import {
  installedKubectls,
  KubectlRunner,
  scratchNamespace,
  serverUnderTest,
  unique,
  type ServerUnderTest,
} from '../support/apiserver.ts';
import { project, service, servicesPath } from './suite/fixtures.ts';

/** The commands people type, with every kubectl that this machine has. */
const expected = ['1.27', '1.28', '1.29', '1.30', '1.31', '1.32', '1.33'];
const installed = installedKubectls();
const absent = expected.filter((version) => !installed.some((one) => one.version === version));
if (absent.length > 0) console.warn(`kubectl ${absent.join(', ')}: not installed here, not tested`);

let server: ServerUnderTest;

beforeAll(async () => {
  server = await serverUnderTest();
});
afterAll(() => server.close());

describe.each(installed)('kubectl $version ($path)', (program) => {
  let home: string;
  let ns: Awaited<ReturnType<typeof scratchNamespace>>;
  let kubectl: KubectlRunner;
  let file: string;
  const minor = Number(program.version.split('.')[1] ?? 99);

  beforeAll(async () => {
    home = await mkdtemp(join(tmpdir(), 'nap-kubectl-'));
    ns = await scratchNamespace(server.client);
    kubectl = new KubectlRunner(program, server.kubeconfig, home);
    file = join(home, 'object.yaml');
  });
  afterAll(async () => {
    await ns.drop();
    await rm(home, { recursive: true, force: true });
  });

  const here = (...args: string[]): string[] => ['-n', ns.name, ...args];
  async function write(...objects: unknown[]): Promise<void> {
    await writeFile(file, objects.map((object) => stringify(object)).join('---\n'));
  }

  it('create, get, describe, delete', async () => {
    await write(project('shop'), service('alone', { placement: { strategy: 'binpack' } }));
    expect(await kubectl.ok(here('create', '-f', file))).toBe(
      'project.nap.dev/shop created\nservice.nap.dev/alone created\n',
    );
    const again = await kubectl.run(here('create', '-f', file));
    expect(again.code).toBe(1);
    expect(again.stderr).toContain('(AlreadyExists)');
    const table = await kubectl.ok(here('get', 'projects'));
    expect(table).toMatch(/^NAME +READY +SERVICES +INSTANCES +STATUS +URL +AGE\nshop /);
    expect(await kubectl.ok(here('get', 'napsvc', '-o', 'wide'))).toMatch(
      /STRATEGY.*\nalone .*redis:7.*binpack/,
    );
    expect(await kubectl.ok(here('get', 'proj', '-o', 'name'))).toBe('project.nap.dev/shop\n');
    expect(
      await kubectl.ok(here('get', 'proj/shop', '-o', 'jsonpath={.spec.services.web.image}')),
    ).toBe('nginx:1');
    expect(await kubectl.ok(['get', 'projects', '-A'])).toContain(ns.name);
    expect(await kubectl.ok(here('get', 'all'))).toContain('service.nap.dev/alone');
    const shop = await server.client.get(
      `/apis/nap.dev/v1alpha1/namespaces/${ns.name}/projects/shop`,
    );
    await server.client.post(`/api/v1/namespaces/${ns.name}/events`, {
      metadata: { name: `shop.${unique()}`, namespace: ns.name },
      involvedObject: {
        apiVersion: 'nap.dev/v1alpha1',
        kind: 'Project',
        name: 'shop',
        namespace: ns.name,
        uid: shop.body.metadata.uid,
      },
      reason: 'Tested',
      message: 'an event for describe',
      type: 'Normal',
      firstTimestamp: new Date().toISOString(),
      lastTimestamp: new Date().toISOString(),
      count: 1,
    });
    const described = await kubectl.ok(here('describe', 'project', 'shop'));
    expect(described).toMatch(/Name: +shop/);
    expect(described).toContain('an event for describe');
    expect(await kubectl.ok(here('get', 'events'))).toContain('project/shop');
    expect(await kubectl.ok(here('delete', 'project', 'shop', '--timeout=30s'))).toMatch(
      /"shop" deleted/,
    );
    expect(
      await kubectl.ok(here('delete', '-f', file, '--ignore-not-found', '--timeout=30s')),
    ).toMatch(/"alone" deleted/);
    const none = await kubectl.run(here('get', 'project', 'shop'));
    expect(none.stderr).toContain(
      'Error from server (NotFound): projects.nap.dev "shop" not found',
    );
  });

  it('apply: new, unchanged, changed, pruned by the client, diff', async () => {
    await write(service('csa', { environment: { A: '1', B: '2' } }));
    expect(await kubectl.ok(here('apply', '-f', file))).toBe('service.nap.dev/csa created\n');
    expect(await kubectl.ok(here('apply', '-f', file))).toBe('service.nap.dev/csa unchanged\n');
    await write(service('csa', { environment: { B: '2' }, replicas: 3 }));
    const diff = await kubectl.run(here('diff', '-f', file));
    expect(diff.code, diff.stderr).toBe(1);
    expect(diff.stdout).toMatch(/-.*A: "1"/);
    expect(diff.stdout).toMatch(/\+.*replicas: 3/);
    expect(await kubectl.ok(here('apply', '-f', file, '--dry-run=server'))).toContain(
      'configured (server dry run)',
    );
    expect(await kubectl.ok(here('apply', '-f', file))).toBe('service.nap.dev/csa configured\n');
    const got = await server.client.get(`${servicesPath(ns.name)}/csa`);
    expect(got.body.spec).toMatchObject({ environment: { B: '2' }, replicas: 3 });
  });

  it('apply the manifests of the repository, and numbers where either is allowed', async () => {
    const manifests = join(import.meta.dirname, '../../manifests');
    await kubectl.ok(here('apply', '-f', join(manifests, 'samples')));
    await kubectl.ok(['apply', '--dry-run=server', '-f', join(manifests, 'demo/guestbook.yaml')]);
    await write(
      project('numbers', {
        db: { image: 'redis:7', ports: [6379, '8080:80'], environment: { WORKERS: 4, LEVEL: 'x' } },
      }),
    );
    expect(await kubectl.ok(here('apply', '-f', file))).toBe('project.nap.dev/numbers created\n');
    expect(await kubectl.ok(here('apply', '-f', file))).toBe('project.nap.dev/numbers unchanged\n');
  });

  it('apply in another namespace than default, of built-in kinds too', async () => {
    const map = (data: Record<string, string>): unknown => ({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'cm', namespace: ns.name },
      data,
    });
    await write(map({ a: '1', b: '2' }));
    expect(await kubectl.ok(['apply', '-f', file])).toBe('configmap/cm created\n');
    await write(map({ b: '3' }));
    expect(await kubectl.ok(['apply', '-f', file])).toBe('configmap/cm configured\n');
    const got = await server.client.get(`/api/v1/namespaces/${ns.name}/configmaps/cm`);
    expect(got.body.data).toEqual({ b: '3' });
  });

  it('apply --server-side: conflict with advice, force, from client-side', async () => {
    await write(service('ssa', { replicas: 2 }));
    expect(await kubectl.ok(here('apply', '--server-side', '-f', file))).toBe(
      'service.nap.dev/ssa serverside-applied\n',
    );
    const other = await kubectl.run(
      here('apply', '--server-side', '--field-manager=other', '-f', '-'),
      {
        stdin: stringify(service('ssa', { image: 'redis:8' })),
      },
    );
    expect(other.code).toBe(1);
    expect(other.stderr).toContain(
      'Apply failed with 1 conflict: conflict with "kubectl": .spec.image',
    );
    expect(other.stderr).toContain('--force-conflicts');
    await kubectl.ok(
      here('apply', '--server-side', '--force-conflicts', '--field-manager=other', '-f', '-'),
      {
        stdin: stringify(service('ssa', { image: 'redis:8' })),
      },
    );
    await write(service('moved', { replicas: 2 }));
    await kubectl.ok(here('apply', '-f', file));
    await write(service('moved', { replicas: 4 }));
    expect(await kubectl.ok(here('apply', '--server-side', '-f', file))).toContain(
      'serverside-applied',
    );
    const moved = await server.client.get(`${servicesPath(ns.name)}/moved`);
    expect(moved.body.spec.replicas).toBe(4);
  });

  it('tells unknown fields and wrong values', async () => {
    await write(service('bad', { bogus: 1 }));
    const unknown = await kubectl.run(here('apply', '-f', file));
    expect(unknown.code).toBe(1);
    expect(unknown.stderr).toMatch(/unknown field "?spec\.bogus|unknown field "bogus"/);
    await write(service('bad', { replicas: -1 }));
    const invalid = await kubectl.run(here('apply', '-f', file));
    expect(invalid.stderr).toContain('spec.replicas');
    if (minor < 25) return; // It validates with the schema alone, and knows no other mode.
    await write(service('bad', { bogus: 1 }));
    const warned = await kubectl.run(here('apply', '--validate=warn', '-f', file));
    expect(warned.code).toBe(0);
    expect(warned.stderr).toContain('Warning: unknown field "spec.bogus"');
  });

  it('patch, edit, replace, label, annotate, set by selector', async () => {
    await write(service('edited', {}, { labels: { group: 'x' } }));
    await kubectl.ok(here('create', '-f', file));
    const path = `${servicesPath(ns.name)}/edited`;
    await kubectl.ok(
      here('patch', 'napsvc', 'edited', '--type=merge', '-p', '{"spec":{"replicas":2}}'),
    );
    await kubectl.ok(
      here(
        'patch',
        'napsvc',
        'edited',
        '--type=json',
        '-p',
        '[{"op":"replace","path":"/spec/replicas","value":3}]',
      ),
    );
    expect((await server.client.get(path)).body.spec.replicas).toBe(3);
    await kubectl.ok(here('edit', 'napsvc', 'edited'), {
      env: { KUBE_EDITOR: 'sed -i s/redis:7/redis:8/' },
    });
    expect((await server.client.get(path)).body.spec.image).toBe('redis:8');
    await kubectl.ok(here('label', 'napsvc', '-l', 'group=x', 'tier=front'));
    await kubectl.ok(here('annotate', 'napsvc', 'edited', 'note=hello'));
    const got = await server.client.get(path);
    expect(got.body.metadata).toMatchObject({
      labels: { group: 'x', tier: 'front' },
      annotations: { note: 'hello' },
    });
    expect(await kubectl.ok(here('get', 'napsvc', '-l', 'tier=front', '-o', 'name'))).toBe(
      'service.nap.dev/edited\n',
    );
    expect(
      await kubectl.ok(
        here('get', 'napsvc', '--field-selector', 'metadata.name=edited', '-o', 'name'),
      ),
    ).toBe('service.nap.dev/edited\n');
    await writeFile(file, stringify({ ...got.body, spec: { ...got.body.spec, replicas: 5 } }));
    await kubectl.ok(here('replace', '-f', file));
    expect((await server.client.get(path)).body.spec.replicas).toBe(5);
    if (minor < 24) return; // It knows no --subresource.
    await kubectl.ok(
      here(
        'patch',
        'napsvc',
        'edited',
        '--subresource=status',
        '--type=merge',
        '-p',
        '{"status":{"replicas":5}}',
      ),
    );
    expect((await server.client.get(path)).body.status.replicas).toBe(5);
  });

  it('scale, with and without --current-replicas', async () => {
    await write(service('scaled'));
    await kubectl.ok(here('create', '-f', file));
    await kubectl.ok(here('scale', 'services.nap.dev/scaled', '--replicas=3'));
    await kubectl.ok(here('scale', 'napsvc/scaled', '--replicas=4', '--current-replicas=3'));
    const got = await server.client.get(`${servicesPath(ns.name)}/scaled`);
    expect(got.body.spec.replicas).toBe(4);
    const wrong = await kubectl.run(
      here('scale', 'napsvc/scaled', '--replicas=9', '--current-replicas=1'),
    );
    expect(wrong.code).toBe(1);
  });

  it('get -w shows changes as they come', async () => {
    await write(service('watched'));
    await kubectl.ok(here('create', '-f', file));
    const child = kubectl.start(here('get', 'napsvc', '-w'));
    let text = '';
    child.stdout?.on('data', (chunk: Buffer) => (text += chunk.toString()));
    try {
      await eventually('the first rows', () => /watched .*redis:7/.test(text), 30_000);
      await server.client.merge(`${servicesPath(ns.name)}/watched`, { spec: { image: 'redis:8' } });
      await eventually('the change', () => /watched .*redis:8/.test(text), 15_000);
      expect(text.match(/^NAME/gm)).toHaveLength(1);
    } finally {
      child.kill();
    }
  });

  it('wait for a condition and for deletion', async () => {
    await write(service('waited', {}, { finalizers: ['example.com/hold'] }));
    await kubectl.ok(here('create', '-f', file));
    const path = `${servicesPath(ns.name)}/waited`;
    const ready = kubectl.run(
      here('wait', '--for=condition=Ready', 'napsvc/waited', '--timeout=30s'),
    );
    await server.client.merge(`${path}/status`, {
      status: {
        conditions: [
          {
            type: 'Ready',
            status: 'True',
            reason: 'Tested',
            message: '',
            lastTransitionTime: '2026-01-01T00:00:00Z',
          },
        ],
      },
    });
    expect((await ready).stdout).toBe('service.nap.dev/waited condition met\n');
    const late = await kubectl.run(
      here('wait', '--for=condition=Never', 'napsvc/waited', '--timeout=1s'),
    );
    expect(late.code).toBe(1);
    expect(late.stderr).toContain('timed out waiting');
    const deleted = kubectl.run(here('delete', 'napsvc', 'waited', '--timeout=30s'));
    await eventually(
      'deletion began',
      async () => (await server.client.get(path)).body.metadata.deletionTimestamp !== undefined,
      15_000,
    );
    await server.client.merge(path, { metadata: { finalizers: null } });
    expect((await deleted).code).toBe(0);
    if (minor >= 31) {
      await kubectl.ok(['wait', '--for=create', `namespace/${ns.name}`, '--timeout=10s']);
    }
    await kubectl.ok([
      'wait',
      '--for=condition=Established',
      'crd/projects.nap.dev',
      '--timeout=10s',
    ]);
  });

  it('delete --cascade', async () => {
    for (const cascade of ['background', 'foreground', 'orphan']) {
      const name = `c-${cascade}`;
      await write(project(name));
      await kubectl.ok(here('create', '-f', file));
      const owner = await server.client.get(
        `/apis/nap.dev/v1alpha1/namespaces/${ns.name}/projects/${name}`,
      );
      const reference = {
        apiVersion: 'nap.dev/v1alpha1',
        kind: 'Project',
        name,
        uid: owner.body.metadata.uid,
        blockOwnerDeletion: true,
      };
      await server.client.post(
        servicesPath(ns.name),
        service(`${name}-child`, {}, { ownerReferences: [reference] }),
      );
      await kubectl.ok(here('delete', 'project', name, `--cascade=${cascade}`, '--timeout=30s'));
      const child = `${servicesPath(ns.name)}/${name}-child`;
      if (cascade === 'orphan') expect((await server.client.get(child)).code).toBe(200);
      else
        await eventually(
          'the dependent is gone',
          async () => (await server.client.get(child)).code === 404,
          30_000,
        );
    }
  });

  it('explains the format', async () => {
    const text = await kubectl.ok(['explain', 'project.spec.services']);
    expect(text).toMatch(/DESCRIPTION/);
    expect(
      await kubectl.ok(['explain', 'services.spec.replicas', '--api-version=nap.dev/v1alpha1']),
    ).toContain('replicas');
  });

  it('typed commands: namespaces, secrets, config maps, who may what', async () => {
    const name = `k-${unique()}`;
    expect(await kubectl.ok(['create', 'namespace', name])).toBe(`namespace/${name} created\n`);
    await kubectl.ok(['-n', name, 'create', 'secret', 'generic', 'pw', '--from-literal=a=b']);
    await kubectl.ok(['-n', name, 'create', 'configmap', 'cm', '--from-literal=a=b']);
    await kubectl.ok(['-n', name, 'create', 'serviceaccount', 'robot']);
    expect(await kubectl.ok(['-n', name, 'get', 'secret', 'pw', '-o', 'jsonpath={.data.a}'])).toBe(
      'Yg==',
    );
    expect(await kubectl.ok(['create', 'namespace', 'never', '--dry-run=server'])).toContain(
      'server dry run',
    );
    await kubectl.ok(['delete', 'namespace', name, '--timeout=30s']);
    expect(await kubectl.ok(['auth', 'can-i', 'create', 'projects'])).toBe('yes\n');
    const no = await kubectl.run(['auth', 'can-i', 'delete', 'projects', '--as=nobody']);
    expect(no.stdout).toBe('no\n');
    expect(no.code).toBe(1);
    expect(await kubectl.ok(['auth', 'can-i', '--list'])).toContain('*.*');
    const denied = await kubectl.run(here('get', 'projects', '--as=nobody'));
    expect(denied.stderr).toContain('Error from server (Forbidden)');
    if (minor >= 28) expect(await kubectl.ok(['auth', 'whoami'])).toContain('system:masters');
  });

  it('api-resources, api-versions, version, get crd', async () => {
    const resources = await kubectl.ok(['api-resources', '--api-group=nap.dev']);
    for (const kind of ['hosts', 'projects', 'services']) expect(resources).toContain(kind);
    expect(await kubectl.ok(['api-versions'])).toContain('nap.dev/v1alpha1\n');
    expect(await kubectl.ok(['version', '-o', 'json'])).toContain('"serverVersion"');
    expect(await kubectl.ok(['get', 'crd'])).toContain('projects.nap.dev');
    expect(await kubectl.ok(['get', 'ns', 'default', 'kube-system', '-o', 'name'])).toBe(
      'namespace/default\nnamespace/kube-system\n',
    );
    expect(await kubectl.ok(['get', '--raw', '/readyz'])).toBe('ok');
  });
});
