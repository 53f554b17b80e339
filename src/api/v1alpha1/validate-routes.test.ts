import { describe, expect, it } from 'vitest';
import { formatFieldError } from './field-error.ts';
import { serviceSpec, type ServiceSpecInput } from './service-spec.ts';
import { validateServiceSpec } from './validate-service-spec.ts';

function errorsOf(routes: ServiceSpecInput['routes'], ports: ServiceSpecInput['ports'] = ['80']) {
  const spec = serviceSpec.parse({ image: 'x', ports, routes });
  return validateServiceSpec(spec, ['spec']).map(formatFieldError);
}

describe('routes', () => {
  it.each<[string, ServiceSpecInput['routes'], ServiceSpecInput['ports']]>([
    ['a host', [{ host: 'a.test' }], ['80']],
    ['wildcards', [{ host: '*.a.test' }, { host: '*' }], ['8080:80', '53/udp']],
    ['two paths', [{ host: 'a.test' }, { host: 'a.test', path: '/b.c/~d' }], ['80']],
    ['one of several ports', [{ host: 'a.test', port: 81 }], ['80', '81']],
    ['a certificate that is obtained', [{ host: 'a.test', tls: { acme: {} } }], ['80']],
    ['a certificate of its own', [{ host: '*.a.test', tls: { secret: 's' } }], ['80']],
    ['a redirect', [{ host: 'a.test', redirectTo: 'https://b.test:8443' }], []],
  ])('may be %s', (_what, routes, ports) => {
    expect(errorsOf(routes, ports)).toEqual([]);
  });

  it.each<[string, ServiceSpecInput['routes'], ServiceSpecInput['ports'], RegExp]>([
    ['a host with spaces', [{ host: 'a b' }], ['80'], /routes\[0\]\.host.*not a host name/],
    ['capitals', [{ host: 'A.test' }], ['80'], /small letters/],
    ['a label of 64', [{ host: `${'a'.repeat(64)}.test` }], ['80'], /not a host name/],
    ['a star inside', [{ host: 'a.*.test' }], ['80'], /not a host name/],
    ['no slash', [{ host: 'a.test', path: 'x' }], ['80'], /routes\[0\]\.path.*begins with/],
    ['a line end', [{ host: 'a.test', path: '/x\n' }], ['80'], /begins with/],
    ['dots', [{ host: 'a.test', path: '/a/../b' }], ['80'], /no request would match/],
    [
      'twins',
      [
        { host: 'a.test', path: '/x' },
        { host: 'a.test', path: '/x/' },
      ],
      ['80'],
      /routes\[0\] is for/,
    ],
    ['a strange port', [{ host: 'a.test', port: 81 }], ['80', '81/udp'], /no TCP port 81.*are 80/],
    ['no ports', [{ host: 'a.test' }], [], /has no TCP port/],
    ['which port', [{ host: 'a.test' }], ['80', '81'], /which of the ports 80, 81/],
    [
      'a path to redirect to',
      [{ host: 'a.test', redirectTo: 'https://b/x' }],
      ['80'],
      /without a path/,
    ],
    [
      'a port for nothing',
      [{ host: 'a.test', redirectTo: 'https://b', port: 80 }],
      ['80'],
      /nothing reaches/,
    ],
    [
      'two certificates',
      [{ host: 'a.test', tls: { secret: 's', acme: {} } }],
      ['80'],
      /exactly one/,
    ],
    ['https without a certificate', [{ host: 'a.test', tls: {} }], ['80'], /exactly one of secret/],
    [
      'a wildcard that is obtained',
      [{ host: '*.a.test', tls: { acme: {} } }],
      ['80'],
      /routes\[0\]\.tls.*wildcard.*name the hosts/,
    ],
    [
      'an address',
      [{ host: '10.0.0.1', tls: { acme: {} } }],
      ['80'],
      /for a name, not for an addr/,
    ],
    ['no time', [{ host: 'a.test', timeout: '0s' }], ['80'], /more than nothing/],
    ['a bad size', [{ host: 'a.test', maxBodySize: 'x' }], ['80'], /maxBodySize/],
  ])('may not be: %s', (_what, routes, ports, message) => {
    expect(errorsOf(routes, ports).join('\n')).toMatch(message);
  });
});
