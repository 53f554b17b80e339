import { X509Certificate } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { secrets, type Secret } from '../../../src/kube/resources.ts';
import { acmeOrderRecords } from '../../../src/registry/records/index.ts';
import { eventually } from '../../support/eventually.ts';
import { Pebble } from '../../support/pebble.ts';
import { cluster, type Cluster } from '../operator/harness.ts';
import { freePorts } from '../../support/free-ports.ts';
import { FakeRouters } from './fake-routers.ts';

const namespace = 'default';
const annotations = {
  directory: 'nap.dev/acme-directory',
  names: 'nap.dev/acme-names',
  service: 'nap.dev/acme-service',
};
let pebble: Pebble;
let httpPort: number;
let routers: FakeRouters | undefined;

beforeAll(async () => {
  const [first, directory, management, dns, dnsManagement] = (await freePorts(5)) as [
    ...[number, number, number, number, number],
  ];
  httpPort = first;
  pebble = await Pebble.start({
    address: '127.0.0.1',
    ports: [directory, management, dns, dnsManagement],
    resolveTo: '127.0.0.1',
    httpPort,
    // Renewed after two thirds: a third is left for it on a busy machine.
    validitySeconds: 24,
    blocked: ['blocked.test'],
  });
});

afterAll(() => pebble.remove());
afterEach(async () => {
  await routers?.stop();
  routers = undefined;
});

/** A cluster with two hosts, each with a router. */
async function start(): Promise<{ at: Cluster; acme: { directory: string; ca: string } }> {
  const at = await cluster('embedded');
  await at.agents('h1', 'h2');
  routers = new FakeRouters(at.store, ['h1', 'h2']);
  await routers.start(httpPort);
  return { at, acme: { directory: pebble.directory, ca: pebble.ca } };
}

const router = { image: 'haproxy:lts' };

async function shop(at: Cluster, ...hosts: string[]): Promise<void> {
  const routes = hosts.map((host) => ({ host, tls: { acme: {} } }));
  await at.apply('shop', { services: { web: { image: 'x', ports: ['80'], routes } } });
}

function secret(at: Cluster, host: string): Promise<Secret | undefined> {
  return at.client.find(secrets, { namespace, name: `acme.${host}` });
}

function certificateOf({ data }: Secret): X509Certificate {
  return new X509Certificate(Buffer.from(data?.['tls.crt'] ?? '', 'base64'));
}

async function routed(at: Cluster) {
  const service = await at.service('shop-web');
  return service?.status?.conditions?.find(({ type }) => type === 'Routed');
}

function says(at: Cluster, status: 'True' | 'False', message: RegExp): Promise<boolean> {
  let seen: unknown;
  return eventually(`Routed is ${status}: ${String(message)}`, async () => {
    const condition = await routed(at);
    seen = condition;
    return condition?.status === status && message.test(condition.message);
  }).catch((error: unknown) => {
    throw new Error(`${String(error)}; it is ${JSON.stringify(seen)}; ${pebble.said.slice(-2000)}`);
  });
}

describe('certificates of routes, from a real authority', () => {
  it('are obtained, kept and renewed; nothing is left behind', async () => {
    const { at, acme } = await start();
    at.operator({ router, acme: { ...acme, email: 'ops@example.com' } });
    const before = pebble.orders;
    await shop(at, 'shop.test');
    const first = await eventually('there is a certificate', () => secret(at, 'shop.test'));
    expect(first.type).toBe('kubernetes.io/tls');
    expect(first.metadata.annotations).toEqual({
      [annotations.directory]: pebble.directory,
      [annotations.names]: 'shop.test',
      [annotations.service]: 'shop-web',
    });
    const leaf = certificateOf(first);
    expect(leaf.checkHost('shop.test')).toBe('shop.test');
    const chain = Buffer.from(first.data?.['tls.crt'] ?? '', 'base64').toString();
    const issuer = new X509Certificate(chain.slice(chain.indexOf('-----BEGIN', 10)));
    expect(leaf.verify(issuer.publicKey)).toBe(true);
    expect(issuer.verify(new X509Certificate(await pebble.root()).publicKey)).toBe(true);
    await says(at, 'True', /^1 route served$/);
    expect(pebble.orders).toBe(before + 1);
    await eventually('nothing is left in the registry', async () => {
      const { entries } = await at.store.list('/nap/v1/acme/');
      return entries.every(({ value }) => value === '{"tokens":[]}');
    });
    const renewed = await eventually(
      'it is renewed in time',
      async () => {
        const now = await secret(at, 'shop.test');
        return now !== undefined && certificateOf(now).serialNumber !== leaf.serialNumber && now;
      },
      30_000,
    );
    expect(Date.now()).toBeLessThan(Date.parse(leaf.validTo));
    expect(renewed.data?.['tls.key']).not.toBe(first.data?.['tls.key']);
    expect(renewed.metadata.uid).toBe(first.metadata.uid);
    expect(at.events.filter(({ reason }) => reason === 'CertificateFailed')).toEqual([]);
    const account = await at.client.get(secrets, {
      namespace: 'nap-system',
      name: 'nap-acme-account',
    });
    expect(Object.keys(account.data ?? {})).toEqual(['account.key', 'certificates.seed']);
  });

  it('an operator that dies in the midst of it is followed by one that goes on with the same order', async () => {
    const { at, acme } = await start();
    routers!.mute.add('h2');
    const first = at.operator({ router, acme });
    const before = pebble.orders;
    await shop(at, 'handover.test');
    await eventually('the challenge is there', () => routers!.tokens.length === 1);
    const [token] = routers!.tokens;
    const order = async (): Promise<string | undefined> => {
      const entry = await at.store.get(acmeOrderRecords.path({ name: 'handover.test' }));
      return entry && acmeOrderRecords.decode(entry.value).order;
    };
    const placed = await order();
    expect(placed).toMatch(/^https:/);
    // It has not told the authority to look, since one of two routers does not say that it answers.
    expect(routers!.asked).toEqual([]);
    first.kill();
    at.operator({ router, acme });
    await eventually('another one leads', async () => {
      const entry = await at.store.get('/nap/v1/leader');
      return entry?.value.includes('operator-1') === true;
    });
    expect(await order()).toBe(placed);
    routers!.mute.clear();
    await routers!.tell();
    await eventually('there is a certificate', () => secret(at, 'handover.test'));
    expect(pebble.orders).toBe(before + 1);
    expect(new Set(routers!.asked)).toEqual(new Set([token]));
  });

  it('what the authority refuses is said in its words, and other hosts have theirs', async () => {
    const { at, acme } = await start();
    routers!.deaf.add('deaf.test');
    at.operator({ router, acme });
    await shop(at, 'blocked.test', 'deaf.test', 'fine.test');
    await eventually('there is a certificate', () => secret(at, 'fine.test'));
    const address = pebble.directory.replaceAll(/^https:..|.dir$/g, '');
    await says(
      at,
      'False',
      new RegExp(
        `blocked.test/ is not served: routes\\[0\\].tls.acme: no certificate for blocked.test from ${address}: .*polic.*; tried again at 20`,
      ),
    );
    await says(at, 'False', /deaf.test.*no certificate for deaf.test.*404.*; tried again at 20/);
    expect((await routed(at))?.reason).toBe('CertificateFailed');
    expect(at.events.some(({ reason }) => reason === 'CertificateFailed')).toBe(true);
    // It is not tried again before the time that was said: another try says another. (Orders are those of the third host, too.)
    const said = (await routed(at))?.message;
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect((await routed(at))?.message).toBe(said);
    expect(await secret(at, 'blocked.test')).toBeUndefined();
  });

  it("a Secret that somebody else made is left as it is; without an authority's name that is what is said", async () => {
    const { at, acme } = await start();
    const mine = { 'tls.crt': 'eA==', 'tls.key': 'eA==' };
    await at.client.create(secrets, {
      metadata: { namespace, name: 'acme.mine.test' },
      ...{ type: 'kubernetes.io/tls', data: mine },
    });
    const without = at.operator({ router });
    await shop(at, 'mine.test', 'other.test');
    await says(at, 'False', /other.test.*start nap up or nap operator with --acme-directory/);
    await without.stop();
    at.operator({ router, acme });
    await eventually('there is a certificate', () => secret(at, 'other.test'));
    await says(
      at,
      'False',
      /^mine.test\/ is not served: Secret acme.mine.test has no certificate.*remove it/,
    );
    expect((await secret(at, 'mine.test'))?.data).toEqual(mine);
  });
});
