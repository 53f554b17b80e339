import 'reflect-metadata';
import { describe, expect, it, onTestFinished } from 'vitest';
import { FakeAcme } from '../../../test/support/fake-acme.ts';
import { VirtualClock } from '../../../test/support/virtual-clock.ts';
import { webCryptoIdle } from '../../../test/support/web-crypto-work.ts';
import { KubeError } from '../../kube/errors.ts';
import type { Secret } from '../../kube/resources.ts';
import { MemoryDatabase } from '../../registry/memory/database.ts';
import { MemoryStore } from '../../registry/memory/store.ts';
import {
  acmeAnsweredRecords,
  acmeChallengeRecords,
  acmeOrderRecords,
  leaderPath,
} from '../../registry/records/index.ts';
import type { Revision } from '../../registry/store.ts';
import { silentLogger } from '../../telemetry/log.ts';
import { contentOf } from '../content/feed.ts';
import { acmeWish } from '../routes/resolve.ts';
import type { CertificateWish } from '../routes/route-table.ts';
import { CertificateLoop } from './loop.ts';

const start = Date.parse('2026-06-01T00:00:00Z');
const minute = 60_000;

/** Secrets as an API server keeps them. */
class FakeSecrets {
  readonly objects = new Map<string, Secret>();
  /** What every call fails with. */
  fault: Error | undefined;
  writes = 0;
  #version = 0;

  list = async (_kind: unknown, { fieldSelector = '' }: { fieldSelector?: string } = {}) => {
    if (this.fault !== undefined) throw this.fault;
    const found = this.objects.get(fieldSelector.replace('metadata.name=', ''));
    return { items: found === undefined ? [] : [found], resourceVersion: '1' };
  };

  create = async (_kind: unknown, object: unknown) => this.#put(object as Secret, false);
  update = async (_kind: unknown, object: unknown) => this.#put(object as Secret, true);

  #put(object: Secret, exists: boolean): Secret {
    if (this.fault !== undefined) throw this.fault;
    const { name, resourceVersion } = object.metadata;
    const present = this.objects.get(name);
    const fits = exists
      ? present?.metadata.resourceVersion === resourceVersion
      : present === undefined;
    if (!fits) {
      throw new KubeError({
        ...{ code: 409, reason: exists ? 'Conflict' : 'AlreadyExists', message: 'no' },
      });
    }
    const metadata = { ...object.metadata, resourceVersion: String(++this.#version), uid: name };
    const stored = { ...object, metadata };
    this.objects.set(name, stored);
    this.writes++;
    return stored;
  }
}

type Client = ConstructorParameters<typeof CertificateLoop>[0]['client'];

function scene() {
  const clock = new VirtualClock(start);
  const authority = new FakeAcme(() => clock.now());
  const database = new MemoryDatabase();
  const store = new MemoryStore({ database });
  const kube = new FakeSecrets();
  const hosts = new Set<string>();
  const routers = new Set(['h1', 'h2']);
  const events: string[] = [];
  let epoch: Revision = 0n;
  const put = async (key: string, value: string): Promise<Revision> => {
    const { revision } = await store.commit([], [{ type: 'put', key, value }]);
    return revision;
  };
  /** As the content feed shows it: at once. */
  const wishes = (): CertificateWish[] =>
    [...hosts].map((host) => {
      const secret = `acme.${host}`;
      const object = kube.objects.get(secret);
      const { wish } = acmeWish(
        ...([host, 'routes[0].tls.acme', true] as const),
        () => (object === undefined ? { type: 'missing' } : contentOf('Secret', object)),
        new Map(),
      );
      const { certificate, foreign, unreadable } = wish;
      return {
        ...{ host, secret, service: 'default/shop/web', foreign, unreadable },
        ...(certificate === undefined ? {} : { certificate }),
      };
    });
  const lead = async () => {
    epoch = await put(leaderPath, `{"operator":"o${String(clock.now())}"}`);
    const mine = epoch;
    const loop = new CertificateLoop({
      ...{ acme: { directory: authority.directory }, store, namespace: 'nap-system' },
      epoch: () => mine,
      client: kube as unknown as Client,
      wishes,
      identityOf: () => ({ namespace: 'default', project: 'shop', service: 'web' }),
      routerHosts: () => routers,
      newsChanged: () => undefined,
      announce: (_service, _type, reason, message) => events.push(`${reason} ${message}`),
      ...{ clock, log: silentLogger, random: () => 0, transport: authority.transport },
    });
    const stop = new AbortController();
    const running = loop.watches().map((task) => task.run(stop.signal));
    await loop.whenSynced(stop.signal);
    const ended = loop.run(stop.signal).catch(() => undefined);
    const end = async (): Promise<void> => {
      stop.abort(new Error('over'));
      await Promise.all([...running, ended]);
    };
    onTestFinished(end);
    return { loop, end };
  };
  /** All routers say what they answer. */
  const answer = async (): Promise<void> => {
    const { entries } = await store.list(acmeChallengeRecords.prefix);
    const tokens = entries.map(({ key }) => acmeChallengeRecords.parsePath(key)?.token);
    for (const host of routers) {
      await put(acmeAnsweredRecords.path({ host }), JSON.stringify({ tokens }));
    }
  };
  /** Time goes by, a few seconds at a time, and routers answer. None goes by while certificates are being made. */
  const pass = async (ms: number): Promise<void> => {
    const stepMs = ms > minute ? 10_000 : 1_000;
    for (let done = 0; done < ms; done += stepMs) {
      await answer();
      await clock.advance(Math.min(stepMs, ms - done));
      await webCryptoIdle();
    }
  };
  /** Time goes by until it is so. */
  const until = async (what: string, probe: () => boolean | Promise<boolean>): Promise<void> => {
    for (let n = 0; n < 1_000; n++) {
      if (await probe()) return;
      await pass(n < 100 ? 1_000 : 30_000);
    }
    throw new Error(`it never comes to be: ${what}`);
  };
  const order = async (host: string) => {
    const entry = await store.get(acmeOrderRecords.path({ name: host }));
    return entry && acmeOrderRecords.decode(entry.value);
  };
  const kept = (host: string): boolean => kube.objects.has(`acme.${host}`);
  const world = { clock, authority, store, kube, hosts, routers, events };
  return { ...world, lead, pass, until, order, kept, put };
}

describe('the loop of certificates', () => {
  it('obtains a certificate, writes it once, and renews it when two thirds of its life are over', async () => {
    const { authority, hosts, lead, until, kube, events, order, store, clock } = scene();
    authority.validityMs = 90 * minute;
    hosts.add('a.test');
    await lead();
    await until('a certificate', () => events.length > 0);
    const notBefore = clock.now();
    await until('nothing is left', async () => (await order('a.test')) === undefined);
    expect(kube.objects.get('acme.a.test')?.metadata.annotations).toMatchObject({
      'nap.dev/acme-directory': authority.directory,
    });
    expect(events).toEqual(['CertificateObtained a.test has a certificate, in Secret acme.a.test']);
    await until('no challenge is left', async () => {
      return (await store.list(acmeChallengeRecords.prefix)).entries.length === 0;
    });
    await clock.advance(notBefore + 59 * minute - clock.now());
    expect(authority.orders).toHaveLength(1);
    await until('another one', () => events.length > 1);
    expect(authority.orders).toHaveLength(2);
    expect(clock.now()).toBeLessThan(notBefore + 65 * minute);
    expect(events.at(-1)).toMatch(/a new certificate/);
    // The account and two writes of the certificate.
    expect(kube.writes).toBe(3);
  });

  it('waits for all routers that are there; for one that is stuck not for ever', async () => {
    const { authority, hosts, lead, pass, clock, routers, put } = scene();
    let told = false;
    authority.look = () => {
      told = true;
      return 'valid';
    };
    hosts.add('a.test');
    await lead();
    await clock.advance(5_000);
    await put(acmeAnsweredRecords.path({ host: 'h1' }), JSON.stringify({ tokens: ['token-0'] }));
    await clock.advance(5_000);
    expect(told).toBe(false);
    // It has gone.
    routers.delete('h2');
    await clock.advance(1_000);
    expect(told).toBe(true);
    routers.add('h3');
    told = false;
    hosts.add('b.test');
    await pass(0);
    await clock.advance(20_000);
    expect(told).toBe(false);
    await clock.advance(620_000);
    expect(told).toBe(true);
  });

  it('leaves an authority alone that is away, whoever waits, and goes on with the order', async () => {
    const { authority, hosts, lead, pass, until, order, kept } = scene();
    authority.look = () => 'pending';
    hosts.add('a.test');
    const { loop } = await lead();
    await until('it has begun', async () => (await order('a.test'))?.order !== undefined);
    authority.fault = () => new Error('connect ECONNREFUSED');
    for (const n of [1, 2, 3, 4, 5, 6, 7, 8]) hosts.add(`h${n}.test`);
    loop.changed();
    await pass(150_000);
    authority.requests.length = 0;
    await pass(20 * minute);
    // Nine hosts wait; each asks at most every ten minutes, and all together hardly more.
    expect(authority.requests.length).toBeLessThan(30);
    expect(loop.news('a.test').problem).toMatchObject({
      reason: 'CertificateFailed',
      message:
        /^no certificate for a.test from acme.test: .*does not answer.*; tried again at 2026/,
    });
    expect(await order('a.test')).toMatchObject({ order: 'https://acme.test/order/0' });
    authority.fault = () => undefined;
    authority.look = () => 'valid';
    await until('all have one', () => [...hosts].every(kept));
    expect(authority.orders).toHaveLength(9);
  });

  it('a new leader neither asks before its time nor repeats what was issued', async () => {
    const { authority, hosts, lead, pass, until, order, kube, kept } = scene();
    authority.look = () => 'invalid';
    hosts.add('a.test');
    const first = await lead();
    await until('it is refused', async () => (await order('a.test'))?.failures === 1);
    expect(await order('a.test')).toMatchObject({ problem: /something else/ });
    await first.end();
    const second = await lead();
    await pass(90_000);
    expect(authority.orders).toHaveLength(1);
    authority.look = () => 'valid';
    // The API server is away when the certificate is there.
    authority.fault = (_method, path) => {
      if (path.startsWith('/certificate'))
        kube.fault = new KubeError({ code: 0, reason: 'Network', message: 'away' });
      return undefined;
    };
    await until('the API server is missed', async () => (await order('a.test'))?.outages === 1);
    expect(authority.orders.map(({ status }) => status)).toEqual(['invalid', 'valid']);
    expect(kept('a.test')).toBe(false);
    expect(await order('a.test')).toMatchObject({ problem: /Secrets cannot be .*away/ });
    await second.end();
    kube.fault = undefined;
    authority.fault = () => undefined;
    await lead();
    await until('it is kept', () => kept('a.test'));
    expect(authority.orders).toHaveLength(2);
  });

  it('who leads no more writes nothing more', async () => {
    const { authority, hosts, lead, pass, until, kept, put, order } = scene();
    hosts.add('a.test');
    await lead();
    authority.fault = (_method, path) => {
      if (path.startsWith('/certificate')) void put(leaderPath, '{"operator":"another"}');
      return undefined;
    };
    await until('it is issued', () => authority.orders[0]?.status === 'valid');
    await pass(10_000);
    expect(kept('a.test')).toBe(false);
    // What it wrote before is there for the successor.
    expect(await order('a.test')).toMatchObject({ order: 'https://acme.test/order/0' });
    authority.fault = () => undefined;
    await lead();
    await until('it is kept', () => kept('a.test'));
    expect(authority.orders).toHaveLength(1);
  });

  it('stops when nobody asks any more, and clears up', async () => {
    const { authority, hosts, lead, pass, store } = scene();
    authority.look = () => 'pending';
    hosts.add('a.test');
    const { loop } = await lead();
    await pass(5_000);
    hosts.clear();
    loop.changed();
    await pass(5_000);
    const { entries } = await store.list('/nap/v1/acme/');
    expect(entries.filter(({ key }) => !key.startsWith(acmeAnsweredRecords.prefix))).toEqual([]);
  });

  it('takes the account that somebody else has made in the meantime, and none that is spoilt', async () => {
    const { authority, hosts, lead, until, kube, order, kept } = scene();
    kube.objects.set('nap-acme-account', {
      ...{ apiVersion: 'v1', kind: 'Secret', data: { 'account.key': 'eA==' } },
      metadata: { namespace: 'nap-system', name: 'nap-acme-account', resourceVersion: '1' },
    });
    hosts.add('a.test');
    await lead();
    await until('it is refused', async () => (await order('a.test'))?.failures === 1);
    expect(authority.requests).toEqual([]);
    expect(await order('a.test')).toMatchObject({
      problem:
        'Secret nap-system/nap-acme-account has no usable account: remove it, and a new account is made',
    });
    kube.objects.delete('nap-acme-account');
    await until('it is kept', () => kept('a.test'));
  });
});
