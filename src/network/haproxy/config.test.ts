import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { renderRouter, type RouterPlace } from './config.ts';
import { routerModel, type RouteInput } from './model.ts';

const place: RouterPlace = {
  directory: '/run/nap-router',
  httpPort: 80,
  httpsPort: 443,
  healthPort: 8404,
  runAs: 65_534,
};
const certificate = 'c'.repeat(64);
const users = 'd'.repeat(64);
const crypt = `$5$salt$${'x'.repeat(43)}`;
const contents = new Map([
  [certificate, 'PEM'],
  [users, `ali:${crypt}\n`],
]);

function route(host: string, path = '/', more: Partial<RouteInput> = {}): RouteInput {
  return { service: 'default/shop/web', host, path, port: 8080, timeoutMs: 60_000, ...more };
}

function render(
  routes: readonly RouteInput[],
  addresses: readonly { ip: string; port: number }[] = [],
  content: ReadonlyMap<string, string> = contents,
) {
  const model = routerModel(routes, (hash) => content.get(hash));
  return { model, config: renderRouter(model, () => ({ addresses, slots: 4 }), place) };
}

/** The lines of a section, without its title. */
function section(text: string, title: RegExp): string[] {
  const found = text.split('\n\n').find((part) => title.test(part)) ?? '';
  return found
    .trim()
    .split('\n')
    .slice(1)
    .map((line) => line.trim());
}

describe("the router's configuration", () => {
  it('has a backend with servers for what has instances, and spare ones', () => {
    const { config } = render([route('shop.test')], [{ ip: '10.1.0.2', port: 8080 }]);
    expect(section(config.text, /^backend b-/)).toEqual([
      'timeout server 60000ms',
      'http-request disable-l7-retry unless METH_GET || { method HEAD OPTIONS }',
      'server s1 10.1.0.2:8080',
      'server s2 127.0.0.1:1 disabled',
      'server s3 127.0.0.1:1 disabled',
      'server s4 127.0.0.1:1 disabled',
    ]);
  });

  it('is the same in structure whatever the addresses, and in text for the same input', () => {
    const one = render([route('a.test'), route('b.test', '/x')]);
    const other = render(
      [route('b.test', '/x'), route('a.test')],
      [{ ip: '10.1.0.2', port: 8080 }],
    );
    expect(other.config.structure).toBe(one.config.structure);
    expect(other.config.text).not.toBe(one.config.text);
    expect(render([route('b.test', '/x'), route('a.test')]).config.text).toBe(one.config.text);
    expect(render([route('a.test')]).config.structure).not.toBe(one.config.structure);
  });

  it('maps hosts and paths to backends; routes that say the same share one', () => {
    const { model, config } = render([
      route('shop.test'),
      route('*.shop.test', '/'),
      route('*', '/api', { timeoutMs: 1000 }),
    ]);
    expect(model.backends.size).toBe(2);
    const map = [...config.files].find(([name]) => name.endsWith('.map'))?.[1] ?? '';
    expect(map.split('\n').map((line) => line.split(' ')[0])).toEqual([
      '*.shop.test/',
      '*/api/',
      'shop.test/',
      '',
    ]);
  });

  it('asks for passwords after it has made sure of https', () => {
    const { config } = render([
      route('a.test', '/', { users, tls: { certificate, redirect: true }, maxBodyBytes: 5 }),
    ]);
    const lines = section(config.text, /^backend b-/);
    expect(lines[0]).toBe('http-request redirect scheme https code 308 unless { ssl_fc }');
    expect(lines[2]).toBe(`http-request auth realm nap unless { http_auth(users-${users}) }`);
    expect(section(config.text, /^userlist/)).toEqual([`user ali password ${crypt}`]);
    expect([...config.files.values()]).toContain(
      `/run/nap-router/certificate-${certificate}.pem [alpn h2,http/1.1] a.test\n`,
    );
  });

  it('gives who reads a long stream as long as its writer', () => {
    const { config } = render([route('a.test', '/', { timeoutMs: 300_000 })]);
    expect(section(config.text, /^defaults/)).toContain('timeout client 300000ms');
  });

  it('leaves out what it cannot serve, and says why; it never opens to all what some may enter', () => {
    const { model } = render(
      [
        route('a.test', '/', { users: 'e'.repeat(64) }),
        route('b.test', '/', { tls: { certificate: 'e'.repeat(64), redirect: true } }),
        route('c.test', '/', { port: undefined }),
        route('d.test'),
        route('d.test', '/', { service: 'default/other/web' }),
      ],
      [],
    );
    expect(model.routes.map(({ host }) => host)).toEqual(['d.test']);
    expect(model.refused.map(({ why }) => why)).toEqual([
      'its users are not here',
      'its certificate is not here',
      'it has no port',
      'another route is for the same host and path',
    ]);
  });

  it('no word of a user adds a line, a word or a directive', () => {
    const nasty = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.string(),
      fc.constantFrom(
        'a.test\n  http-request return status 200',
        'a.test server x',
        'a.test"',
        "a.test'",
        'a.test\\',
        'a.test#',
        '%[env(HOME)]',
        '${HOME}',
        'a.test\r',
        'a.test\0',
        '/x y',
        '/x\ny z',
        'https://a.test code 301',
        'https://a.test/%[path]',
        `${crypt} insecure-password x`,
      ),
    );
    const hostile = fc.record({
      service: nasty,
      host: fc.oneof(nasty, fc.constant('a.test')),
      path: fc.oneof(nasty, fc.constant('/x')),
      port: fc.oneof(fc.double(), fc.integer(), fc.constant(80)),
      timeoutMs: fc.oneof(fc.double(), fc.constant(1000)),
      redirectTo: fc.option(nasty, { nil: undefined }),
      users: fc.option(fc.constantFrom(users, 'zz', `${users}\n`), { nil: undefined }),
      tls: fc.option(
        fc.record({
          certificate: fc.oneof(nasty, fc.constant(certificate)),
          redirect: fc.boolean(),
        }),
        { nil: undefined },
      ),
    });
    const line =
      /^(?:$|global$|defaults$|frontend (?:health|entry)$|backend b-[0-9a-f]{20}$|userlist users-[0-9a-f]{64}$| {2}\S)/;
    const free = [
      /^ {2}timeout (?:server|client) \d+ms$/,
      /^ {2}http-request redirect prefix https?:\/\/[a-z0-9.-]+(?::\d+)? code 308$/,
      /^ {2}user [A-Za-z0-9._@+-]+ password \$[A-Za-z0-9./$=]+$/,
      /^ {2}http-request auth realm nap unless \{ http_auth\(users-[0-9a-f]{64}\) \}$/,
      /^ {2}description nap-[0-9a-f]{32}$/,
      /^ {2}server s\d [0-9.]+:\d+( disabled)?$/,
      / map_beg|,map_beg\(\/run\/nap-router\/routes-[0-9a-f]{32}\.map\)/,
      /^ {2}bind :443 ssl strict-sni alpn h2,http\/1\.1( crt-list \/run\/nap-router\/certificates-[0-9a-f]{32}\.list)?$/,
    ];
    const isFree = (each: string) =>
      /^(?:backend|userlist)/.test(each) || free.some((form) => form.test(each));
    // Lines of routes that are harmless: whatever is not one of these must have one of the forms above.
    const known = new Set(
      render([
        route('a.test', '/', { tls: { certificate, redirect: true }, users }),
      ]).config.text.split('\n'),
    );
    fc.assert(
      fc.property(fc.array(hostile, { maxLength: 4 }), nasty, nasty, (routes, name, secret) => {
        const content = new Map([...contents, [users, `${name}:${secret}\nali:${crypt}`]]);
        const { config } = render(routes, [], content);
        const strange = config.text
          .split('\n')
          .filter((each) => !line.test(each) || !(known.has(each) || isFree(each)));
        for (const [file, text] of config.files) {
          const shape = file.endsWith('.map')
            ? /^(\S+\/ b-[0-9a-f]{20})?$/
            : /^(\/run\/nap-router\/certificate-[0-9a-f]{64}\.pem \[alpn h2,http\/1\.1\]( [a-z0-9.*-]+)+)?$/;
          strange.push(...text.split('\n').filter((each) => !shape.test(each)));
        }
        expect(strange).toEqual([]);
      }),
      { numRuns: 100 },
    );
  });
});
