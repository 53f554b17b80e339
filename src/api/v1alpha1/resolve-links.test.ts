import { describe, expect, it } from 'vitest';
import { specHash } from './resolve.ts';
import { resolveLinks, type LinkTarget } from './resolve-links.ts';

const identity = { namespace: 'default', project: 'shop', service: 'web' };

const db = {
  type: 'found',
  virtualIP: '10.78.0.1',
  ports: [
    { port: 5432, protocol: 'tcp' },
    { port: 53, protocol: 'udp' },
    { port: 53, protocol: 'tcp' },
  ],
  environment: { MODE: 'fast', SIZE: 3, WHO: 'I am %n', RATE: '10%%' },
} satisfies LinkTarget;

function links(list: readonly string[], targets: Readonly<Record<string, LinkTarget>> = {}) {
  return resolveLinks(
    identity,
    { links: [...list] },
    ({ project, service }) => targets[`${project}/${service}`] ?? { type: 'missing' },
  );
}

function given(list: readonly string[], targets: Readonly<Record<string, LinkTarget>>) {
  const outcome = links(list, targets);
  if (outcome.type !== 'ok') throw new Error(outcome.message);
  return outcome.links;
}

describe('links', () => {
  it('give names and Docker’s variables, on the virtual IP', () => {
    const found = given(['db-master:db-1'], { 'shop/db-master': db });
    expect(found?.hosts).toEqual({ 'db-1': '10.78.0.1', 'db-master': '10.78.0.1' });
    expect(found?.environment(2)).toEqual({
      DB_1_NAME: '/shop-web-2/db-1',
      DB_1_PORT: 'tcp://10.78.0.1:53',
      DB_1_PORT_53_TCP: 'tcp://10.78.0.1:53',
      DB_1_PORT_53_TCP_ADDR: '10.78.0.1',
      DB_1_PORT_53_TCP_PORT: '53',
      DB_1_PORT_53_TCP_PROTO: 'tcp',
      DB_1_PORT_53_UDP: 'udp://10.78.0.1:53',
      DB_1_PORT_53_UDP_ADDR: '10.78.0.1',
      DB_1_PORT_53_UDP_PORT: '53',
      DB_1_PORT_53_UDP_PROTO: 'udp',
      DB_1_PORT_5432_TCP: 'tcp://10.78.0.1:5432',
      DB_1_PORT_5432_TCP_ADDR: '10.78.0.1',
      DB_1_PORT_5432_TCP_PORT: '5432',
      DB_1_PORT_5432_TCP_PROTO: 'tcp',
      DB_1_ENV_MODE: 'fast',
      DB_1_ENV_RATE: '10%',
      DB_1_ENV_SIZE: '3',
    });
  });

  it('to other projects tell nothing of their variables, and use the alias only', () => {
    const found = given(['bank/db', '_/db:solo'], { 'bank/db': db, '_/db': db });
    expect(found?.hosts).toEqual({ db: '10.78.0.1', solo: '10.78.0.1' });
    const names = Object.keys(found?.environment(1) ?? {});
    expect(names.some((name) => name.includes('_ENV_'))).toBe(false);
    expect(names).toContain('SOLO_PORT_5432_TCP_ADDR');
  });

  it('to a service that wants no virtual IP give nothing: its name leads to its instances', () => {
    expect(given(['db'], { 'shop/db': { type: 'found', ports: db.ports } })).toBeUndefined();
  });

  it.each([
    [{ type: 'missing' } as const, 'LinkMissing', 'there is no service db in project bank'],
    [{ type: 'unaddressed', why: 'full' } as const, 'LinkPending', 'no virtual IP yet: full'],
  ])('wait for %j', (target, reason, message) => {
    const outcome = links(['bank/db:x'], { 'bank/db': target });
    expect(outcome).toMatchObject({ type: 'blocked', reason });
    expect(outcome.type === 'blocked' && outcome.message).toContain(message);
  });

  it('do not let a neighbour fill the environment', () => {
    const ports = Array.from({ length: 1000 }, (_, i) => ({ port: i + 1, protocol: 'tcp' }));
    const environment = Object.fromEntries(
      Array.from({ length: 100 }, (_, i) => [`V${i}`, 'x'.repeat(4000)]),
    );
    const found = given(['db'], {
      'shop/db': { type: 'found', virtualIP: '10.78.0.1', ports, environment },
    });
    expect(JSON.stringify(found?.environment(1)).length).toBeLessThan(60_000);
  });

  it('make another container of an instance when the address changes, not when the variables do', () => {
    const container = {
      image: 'a',
      environment: {},
      ports: [],
      mounts: [],
      labels: {},
      hostname: 'h',
      pullPolicy: 'missing' as const,
      restart: 'always' as const,
      stopGracePeriodMs: 1,
      limits: {},
      reservations: {},
    };
    const hosts = { db: '10.78.0.1' };
    const linked = specHash({ ...container, links: { hosts, environment: { DB_NAME: 'a' } } });
    expect(specHash({ ...container, links: { hosts, environment: {} } })).toBe(linked);
    expect(linked).not.toBe(specHash(container));
    expect(
      specHash({ ...container, links: { hosts: { db: '10.78.0.2' }, environment: {} } }),
    ).not.toBe(linked);
  });
});
