import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { dependsOnHost, fillSpec, fillText, strayPercent } from './placeholders.ts';
import { serviceSpec, type ServiceSpecInput } from './service-spec.ts';

const values = { name: 'guestbook-web-2', ordinal: 2, host: 'h1', machineID: 'c0ffee' };
const spec = (over: Partial<ServiceSpecInput>) => serviceSpec.parse({ image: 'a', ...over });

describe('placeholders', () => {
  it.each([
    ['%n', 'guestbook-web-2'],
    ['%p', 'guestbook-web'],
    ['80%i:80', '802:80'],
    ['%H/%m', 'h1/c0ffee'],
    ['100%%', '100%'],
    ['%%i', '%i'],
    ['%%%i', '%2'],
    ['none', 'none'],
  ])('%s becomes %s', (text, filled) => {
    expect(fillText(text, values)).toBe(filled);
  });

  it.each([
    ['date +%s', '%s'],
    ['p%40ss', '%4'],
    ['50%', '%'],
    ['%%%', '%'],
    ['%i %n %p %H %m %%', undefined],
  ])('%s has a stray %s', (text, stray) => {
    expect(strayPercent(text)).toBe(stray);
  });

  it('leave a text with its percent signs doubled as it was', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const doubled = text.replaceAll('%', '%%');
        expect(strayPercent(doubled)).toBeUndefined();
        expect(fillText(doubled, values)).toBe(text);
      }),
    );
  });

  it('are filled in wherever they count', () => {
    const filled = fillSpec(
      spec({
        command: ['run', '--id=%i'],
        entrypoint: ['/bin/%p'],
        environment: { HOST: '%H', PORT: 80 },
        hostname: 'db-%i',
        labels: { who: '%n' },
        volumes: ['data-%i:/data'],
        ports: ['80%i:80', 90],
        volumeDefinitions: { 'data-%i': { reclaimPolicy: 'delete' } },
      }),
      values,
    );
    expect(filled).toMatchObject({
      command: ['run', '--id=2'],
      entrypoint: ['/bin/guestbook-web'],
      environment: { HOST: 'h1', PORT: 80 },
      hostname: 'db-2',
      labels: { who: 'guestbook-web-2' },
      volumes: ['data-2:/data'],
      ports: ['802:80', 90],
      volumeDefinitions: { 'data-2': { reclaimPolicy: 'delete' } },
    });
  });

  it('change nothing in a spec without any, so that its hash stays', () => {
    const plain = spec({ command: ['a'], environment: { A: 'b' }, ports: ['80:80'] });
    expect(fillSpec(plain, values)).toBe(plain);
  });

  it('tell whether the host matters', () => {
    expect(dependsOnHost(spec({ environment: { A: '%H' } }))).toBe(true);
    expect(dependsOnHost(spec({ environment: { A: '%%H %i' } }))).toBe(false);
  });

  it('keep a hostname within what the engine takes', () => {
    const filled = fillSpec(spec({ hostname: 'x-%H' }), { ...values, host: `${'a'.repeat(60)}.b` });
    expect(filled.hostname).toBe(`x-${'a'.repeat(60)}`);
  });
});
