import { describe, expect, it } from 'vitest';
import { resolveContent } from './content.ts';
import { parseProject } from './parse.ts';
import { withProjectParts } from './project-parts.ts';
import type { ServiceSpec } from './service-spec.ts';

const good = { content: '{{ services.web.instances.size }}', target: '/data/list', watch: ['web'] };

/** Errors of a project whose service has this template, by path. */
function problems(
  template: object,
  more: object = {},
  project: object = {},
): Record<string, string> {
  const result = parseProject({
    apiVersion: 'nap.dev/v1alpha1',
    kind: 'Project',
    metadata: { name: 'shop' },
    spec: {
      services: {
        web: { image: 'web' },
        proxy: {
          image: 'proxy',
          volumes: ['v:/data', '/srv:/srv', 'r:/read:ro'],
          templates: [template],
          ...more,
        },
      },
      ...project,
    },
  });
  if (result.ok) return {};
  return Object.fromEntries(
    result.errors
      .filter(({ severity }) => severity === 'error')
      .map(({ path, message }) => [path.replace('spec.services.proxy.', ''), message]),
  );
}

describe('a template', () => {
  it.each([
    [good],
    [{ ...good, target: '/etc/list' }],
    [{ ...good, watch: ['web', 'other/web:theirs'], reload: { signal: 'SIGHUP', service: 'web' } }],
    [
      {
        configMap: { name: 'c', key: 'k' },
        target: '/x',
        watch: ['web'],
        check: ['test', '-s', '/x'],
      },
    ],
  ])('%j is fine', (template) => {
    expect(problems(template)).toEqual({});
  });

  it.each([
    [{ target: '/x', watch: ['web'] }, 'source', /exactly one of/],
    [{ ...good, configMap: { name: 'c', key: 'k' } }, 'source', /exactly one of/],
    [{ ...good, content: '{% for %}' }, 'content', /Liquid/],
    [{ ...good, content: '{% include "x" %}' }, 'content', /include/],
    [{ ...good, target: '/data/../etc/passwd' }, 'target', /without "\.\."/],
    [{ ...good, target: '/srv/list' }, 'target', /\/srv of the host/],
    [{ ...good, target: '/read/list' }, 'target', /read only/],
    [{ ...good, target: '/data' }, 'target', /taken/],
    [{ ...good, watch: ['wbe'] }, 'watch', /no service "wbe"/],
    [{ ...good, watch: ['web', 'web'] }, 'watch', /given twice/],
    [{ ...good, reload: { signal: 'SIGNONE' } }, 'reload', /not a signal/],
    [
      { ...good, reload: { signal: 'SIGHUP', command: ['x'] } },
      'reload',
      /either signal or command/,
    ],
    [{ ...good, reload: { signal: 'SIGHUP', service: 'nobody' } }, 'reload', /no service "nobody"/],
    [{ source: 'c', target: '/x', watch: ['web'] }, 'source', /no config "c"/],
  ])('%j is refused at %s', (template, field, message) => {
    expect(problems(template)[`templates[0].${field}`]).toMatch(message);
  });

  it('does not go where the agent cannot write, nor come from a Secret', () => {
    const driver = { volumes: { v: { driver: 'nfs' } } };
    expect(problems(good, {}, driver)['templates[0].target']).toMatch(/a driver makes/);
    expect(problems({ ...good, target: '/t/x' }, { tmpfs: ['/t'] })['templates[0].target']).toMatch(
      /empty at each start/,
    );
    const secret = { configs: { c: { secret: { name: 's', key: 'k' } } } };
    expect(
      problems({ source: 'c', target: '/x', watch: ['web'] }, {}, secret)['templates[0].source'],
    ).toMatch(/Secret/);
  });
});

describe('what is delivered of templates', () => {
  const spec = { templates: [{ ...good, waitFor: 2, reload: { signal: 'SIGHUP' } }] };
  const content = (templates: object[]) => {
    const outcome = resolveContent({ templates } as Pick<ServiceSpec, 'templates'>, () => ({
      type: 'missing',
    }));
    if (outcome.type !== 'ok') throw new Error(outcome.message);
    return outcome.content;
  };

  it('changes with the text, the container with the target alone', () => {
    const before = content(spec.templates);
    expect(before.container).toEqual({ templates: [{ target: '/data/list' }] });
    expect(before.bundle?.templates?.[0]).toMatchObject({
      waitFor: 2,
      mode: 0o444,
      watch: [{ service: 'web', alias: 'web' }],
    });
    const after = content([{ ...good, content: 'other', check: ['x'], mode: '0600' }]);
    expect(after.container).toEqual(before.container);
    expect(after.bundle?.hash).not.toBe(before.bundle?.hash);
  });

  it('has the contents of the Project filled in', () => {
    const { templates } = withProjectParts(
      { services: {}, configs: { c: { content: 'text' } } },
      { image: 'x', templates: [{ source: 'c', target: '/x', watch: ['web'] }] },
    );
    expect(templates).toEqual([{ content: 'text', target: '/x', watch: ['web'] }]);
  });

  it('waits for a ConfigMap that is not there, and for one that can be read', () => {
    const templates = [{ configMap: { name: 'c', key: 'k' }, target: '/x', watch: ['web'] }];
    const of = (data?: string) =>
      resolveContent({ templates }, () =>
        data === undefined
          ? { type: 'missing' }
          : { type: 'found', uid: 'u', data: new Map([['k', Buffer.from(data)]]) },
      );
    expect(of()).toMatchObject({ type: 'blocked', reason: 'ConfigMissing' });
    expect(of('{% if %}')).toMatchObject({ type: 'blocked', reason: 'ConfigInvalid' });
    expect(of('fine')).toMatchObject({ type: 'ok' });
  });
});
