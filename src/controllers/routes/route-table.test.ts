import { describe, expect, it } from 'vitest';
import type { RouteRecord } from '../../registry/records/route.ts';
import type { RouteWish } from './resolve.ts';
import { RouteTable, type CertificateLookup } from './route-table.ts';

function record(host: string, path = '/', more: Partial<RouteRecord> = {}): RouteRecord {
  return { host, path, port: 80, timeoutMs: 60_000, ...more };
}

function wish(host: string, path = '/', more: Partial<RouteRecord> = {}): RouteWish {
  const tls = more.tls !== undefined;
  return { host, path, tls, record: record(host, path, more), contents: new Map() };
}

function lacking(host: string): RouteWish {
  const problem = { reason: 'SecretMissing', message: 'there is no Secret s' } as const;
  return { host, path: '/', tls: true, problem, contents: new Map() };
}

function claim(name: string, createdAt: string, ...routes: RouteWish[]) {
  return { name, createdAt, routes };
}

describe('who has which host and path', () => {
  it('is the older service, and the younger one hears of it', () => {
    const table = new RouteTable();
    table.put('n/b/web', claim('b-web in n', '2026-01-02', wish('x.test'), wish('x.test', '/b')));
    expect(table.verdict('n/b/web', []).accepted).toHaveLength(2);
    const touched = table.put('n/a/web', claim('a-web in n', '2026-01-01', wish('x.test')));
    expect([...touched].sort()).toEqual(['n/a/web', 'n/b/web']);
    expect(table.verdict('n/a/web', []).problems).toEqual([]);
    const { accepted, problems, urls } = table.verdict('n/b/web', []);
    expect(accepted).toEqual([record('x.test', '/b')]);
    expect(urls).toEqual(['http://x.test/b']);
    expect(problems).toEqual([
      { reason: 'RouteTaken', message: 'x.test/ belongs to a-web in n, which is older' },
    ]);
    expect([...table.put('n/a/web', undefined)].sort()).toEqual(['n/a/web', 'n/b/web']);
    expect(table.verdict('n/b/web', []).accepted).toHaveLength(2);
  });

  it('is the same when both are equally old, in whichever order they come', () => {
    for (const order of [
      ['a', 'b'],
      ['b', 'a'],
    ]) {
      const table = new RouteTable();
      for (const id of order) table.put(id, claim(id, '2026-01-01', wish('x.test')));
      expect(table.verdict('a', []).accepted).toHaveLength(1);
      expect(table.verdict('b', []).accepted).toHaveLength(0);
    }
  });

  it('does not change while the older one lacks its Secret', () => {
    const table = new RouteTable();
    table.put('a', claim('a', '2026-01-01', lacking('x.test')));
    table.put('b', claim('b', '2026-01-02', wish('x.test')));
    expect(table.verdict('a', []).accepted).toEqual([]);
    expect(table.verdict('b', []).problems[0]?.reason).toBe('RouteTaken');
  });
});

describe('a Secret that is gone', () => {
  it('keeps a new route from being served, and an old one as it was', () => {
    const table = new RouteTable();
    table.put('a', claim('a', '2026-01-01', lacking('x.test'), wish('y.test')));
    const fresh = table.verdict('a', []);
    expect(fresh.accepted).toEqual([record('y.test')]);
    expect(fresh.problems[0]?.message).toBe('x.test/ is not served: there is no Secret s');
    const old = record('x.test', '/', { tls: { certificate: 'c', redirect: true } });
    const kept = table.verdict('a', [old]);
    expect(kept.accepted).toEqual([old, record('y.test')]);
    expect(kept.urls).toEqual(['https://x.test/', 'http://y.test/']);
    expect(kept.problems[0]?.message).toBe('x.test/ is served as before: there is no Secret s');
  });
});

describe('certificates', () => {
  it('of one host are those of the oldest service; others hear that theirs is not shown', () => {
    const table = new RouteTable();
    const tls = (certificate: string) => ({ tls: { certificate, redirect: true } });
    table.put('a', claim('a', '2026-01-01', wish('x.test', '/', tls('1'))));
    table.put('b', claim('b', '2026-01-02', wish('x.test', '/b', tls('2'))));
    const { accepted, notes } = table.verdict('b', []);
    expect(accepted[0]?.tls?.certificate).toBe('1');
    expect(notes).toEqual(['x.test has the certificate of an older service']);
    table.put('b', claim('b', '2026-01-02', wish('x.test', '/b', tls('1'))));
    expect(table.verdict('b', []).notes).toEqual([]);
  });

  const pending = { reason: 'CertificatePending', message: 'none yet' } as const;

  /** @param certificate hash of what is in the Secret */
  function obtained(host: string, redirect: boolean, certificate?: string): RouteWish {
    const plain = record(host);
    const tls = certificate === undefined ? undefined : { certificate, redirect };
    return {
      ...{ host, path: '/', tls: true, contents: new Map() },
      ...(tls === undefined ? { problem: pending } : { record: { ...plain, tls } }),
      acme: {
        ...{ field: 'routes[0].tls.acme', secret: `acme.${host}`, redirect, plain },
        ...{ unreadable: false, foreign: false },
      },
    };
  }

  const news: CertificateLookup = () => ({
    problem: { reason: 'CertificateFailed', message: 'the authority says no' },
    note: 'it could not be renewed',
  });

  it('that are to be obtained: the route waits for them, or goes on as it was, and says why', () => {
    const table = new RouteTable();
    table.put('a', claim('a', '2026-01-01', obtained('x.test', true), obtained('y.test', false)));
    const { accepted, problems } = table.verdict('a', [], news);
    expect(accepted).toEqual([record('y.test')]);
    const why = 'routes[0].tls.acme: the authority says no';
    expect(problems).toEqual([
      { reason: 'CertificateFailed', message: `x.test/ is not served: ${why}` },
      { reason: 'CertificateFailed', message: `y.test/ is served over plain http: ${why}` },
    ]);
    // It was served over plain http until now.
    expect(table.verdict('a', [record('x.test')], news).accepted[0]).toEqual(record('x.test'));
    const before = record('x.test', '/', { tls: { certificate: 'old', redirect: true } });
    const kept = table.verdict('a', [before], news);
    expect(kept.accepted[0]).toEqual(before);
    expect(kept.problems[0]?.message).toMatch(/^x.test\/ is served as before/);
    table.put('a', claim('a', '2026-01-01', obtained('x.test', true, 'new')));
    expect(table.verdict('a', [before], news)).toMatchObject({
      ...{ problems: [], notes: ['it could not be renewed'] },
      accepted: [{ tls: { certificate: 'new' } }],
    });
  });

  it('that are to be obtained are asked for once for each host, by the oldest service that has a path of it', () => {
    const table = new RouteTable();
    table.put('b', claim('b', '2026-01-02', obtained('x.test', true)));
    expect([...table.certificates()].map(({ host, service }) => [host, service])).toEqual([
      ['x.test', 'b'],
    ]);
    table.put('a', claim('a', '2026-01-01', { ...obtained('x.test', true), path: '/a' }));
    expect([...table.certificates()].map(({ service }) => service)).toEqual(['a']);
    expect([...table.usersOf('x.test')].sort()).toEqual(['a', 'b']);
    // The oldest brings one of its own: it serves both.
    const own = { certificate: '1', redirect: true };
    table.put('a', claim('a', '2026-01-01', wish('x.test', '/a', { tls: own })));
    expect([...table.certificates()]).toEqual([]);
    const { accepted, problems } = table.verdict('b', []);
    expect([accepted[0]?.tls, problems]).toEqual([own, []]);
  });
});
