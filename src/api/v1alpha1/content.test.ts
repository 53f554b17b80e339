import { describe, expect, it } from 'vitest';
import { contentRefs, resolveContent, type ContentRef, type FoundContent } from './content.ts';

function cluster(
  objects: Record<string, Record<string, string>>,
  uid = 'u1',
): (ref: ContentRef) => FoundContent {
  return ({ kind, name }) => {
    const data = objects[`${kind}/${name}`];
    if (data === undefined) return { type: 'missing' };
    const entries = Object.entries(data).map(([k, v]) => [k, Buffer.from(v)] as const);
    return { type: 'found', uid, data: new Map(entries) };
  };
}

function ok(outcome: ReturnType<typeof resolveContent>) {
  if (outcome.type !== 'ok') throw new Error(outcome.message);
  return outcome.content;
}

const nginx = { configMap: { name: 'nginx', key: 'nginx.conf' }, target: '/etc/nginx.conf' };

describe('contents of configs', () => {
  it('become files with the modes and owners asked for, and are kept out of the container spec', () => {
    const lookup = cluster({
      'ConfigMap/nginx': { 'nginx.conf': 'listen 80;' },
      'Secret/tls': { 'tls.key': 'hush hush' },
    });
    const { container, bundle } = ok(
      resolveContent(
        {
          configs: [
            nginx,
            { secret: { name: 'tls', key: 'tls.key' }, target: '/k', uid: 7, mode: '0440' },
            { content: 'x = 1', target: '/x' },
          ],
        },
        lookup,
      ),
    );
    expect(container.files).toMatchObject([
      { target: '/etc/nginx.conf', mode: 0o444, uid: 0 },
      { target: '/k', mode: 0o440, uid: 7 },
      { target: '/x' },
    ]);
    expect(bundle?.files.map((file) => Buffer.from(file).toString())).toEqual([
      'listen 80;',
      'hush hush',
      'x = 1',
    ]);
    expect(JSON.stringify(container)).not.toContain('hush');
  });

  it('make a file of each key when none is named, secrets for root only', () => {
    const lookup = cluster({ 'Secret/keys': { b: '2', a: '1' } });
    const spec = { configs: [{ secret: { name: 'keys' }, target: '/run/secrets/' }] };
    expect(ok(resolveContent(spec, lookup)).container.files).toMatchObject([
      { target: '/run/secrets/a', mode: 0o400 },
      { target: '/run/secrets/b', mode: 0o400 },
    ]);
  });

  it.each([
    [{ configs: [nginx] }, {}, 'ConfigMissing', 'there is no ConfigMap nginx'],
    [
      { configs: [nginx] },
      { 'ConfigMap/nginx': {} },
      'ConfigMissing',
      'ConfigMap nginx has no key nginx.conf',
    ],
    [{ envFrom: [{ secret: 'db' }] }, {}, 'ConfigMissing', 'there is no Secret db'],
    [
      { configs: [nginx] },
      { 'ConfigMap/nginx': { 'nginx.conf': 'x'.repeat(400 * 1024) } },
      'ConfigInvalid',
      'have 409600 bytes together',
    ],
  ])('that are missing or too large are named: %j', (spec, objects, reason, message) => {
    const outcome = resolveContent(spec, cluster(objects));
    expect(outcome).toMatchObject({ type: 'blocked', reason });
    expect(outcome.type === 'blocked' && outcome.message).toContain(message);
  });

  it('change the container spec, unless the container is only to be told', () => {
    const before = cluster({ 'ConfigMap/nginx': { 'nginx.conf': 'a' } });
    const after = cluster({ 'ConfigMap/nginx': { 'nginx.conf': 'b' } });
    const replaced = { configs: [nginx] };
    const told = { configs: [{ ...nginx, onChange: { signal: 'SIGHUP' } }] };
    const files = (spec: typeof replaced, lookup: typeof before) =>
      ok(resolveContent(spec, lookup));
    expect(files(replaced, before).container).not.toEqual(files(replaced, after).container);
    expect(files(told, before).container).toEqual(files(told, after).container);
    expect(files(told, before).bundle?.hash).not.toBe(files(told, after).bundle?.hash);
  });

  it('are not changed by other keys, nor by the order in which keys come', () => {
    const one = cluster({
      'ConfigMap/nginx': { 'nginx.conf': 'a' },
      'Secret/s': { x: '1', y: '2' },
    });
    const two = cluster({
      'Secret/s': { y: '2', x: '1' },
      'ConfigMap/nginx': { other: 'z', 'nginx.conf': 'a' },
    });
    const spec = { configs: [nginx], envFrom: [{ secret: 's' }] };
    expect(ok(resolveContent(spec, one))).toEqual(ok(resolveContent(spec, two)));
  });

  it('of Secrets cannot be guessed from their hashes without the uid', () => {
    const spec = { configs: [{ secret: { name: 's', key: 'p' }, target: '/p' }] };
    const hash = (uid: string) =>
      ok(resolveContent(spec, cluster({ 'Secret/s': { p: 'password' } }, uid))).container.files?.[0]
        ?.hash;
    expect(hash('u1')).toBe(hash('u1'));
    expect(hash('u1')).not.toBe(hash('u2'));
  });

  it('become variables: later sources win, environment wins over all, secret values stay apart', () => {
    const lookup = cluster({
      'ConfigMap/a': { LEVEL: 'info', MODE: 'x', OWN: 'no' },
      'ConfigMap/b': { LEVEL: 'debug' },
      'Secret/s': { KEY: 'hush', MODE: 'y' },
    });
    const content = ok(
      resolveContent(
        {
          environment: { OWN: 'yes' },
          envFrom: [{ configMap: 'a' }, { configMap: 'b' }, { secret: 's', prefix: 'APP_' }],
        },
        lookup,
      ),
    );
    expect(content.environment).toEqual({ LEVEL: 'debug', MODE: 'x' });
    expect(content.container.sealedEnvironment?.names).toEqual(['APP_KEY', 'APP_MODE']);
    expect(content.bundle?.environment).toEqual({ APP_KEY: 'hush', APP_MODE: 'y' });
    expect(JSON.stringify(content.container)).not.toContain('hush');
  });

  it('are asked for by name, each once', () => {
    const spec = {
      configs: [nginx, nginx, { secret: { name: 'tls' }, target: '/x' }],
      envFrom: [{ configMap: 'nginx' }],
    };
    expect(contentRefs(spec)).toEqual([
      { kind: 'ConfigMap', name: 'nginx' },
      { kind: 'Secret', name: 'tls' },
    ]);
  });
});
