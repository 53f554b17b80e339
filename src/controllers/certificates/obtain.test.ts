import 'reflect-metadata';
import { createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { FakeAcme } from '../../../test/support/fake-acme.ts';
import { VirtualClock } from '../../../test/support/virtual-clock.ts';
import { webCryptoIdle } from '../../../test/support/web-crypto-work.ts';
import { AcmeClient } from './acme-client.ts';
import { AcmeError, errorOfAnswer, fitToShow, retryAfterMsOf } from './acme-error.ts';
import { certificateKey } from './certificate-key.ts';
import { obtainCertificate, type Obtained } from './obtain.ts';

const start = Date.parse('2026-06-01T00:00:00Z');
const seed = new Uint8Array(32).fill(7);

function scene() {
  const clock = new VirtualClock(start);
  const authority = new FakeAcme(() => clock.now());
  const { privateKey: key } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const client = (email?: string): AcmeClient =>
    new AcmeClient({
      ...{ directory: authority.directory, key, clock, email },
      transport: authority.transport,
    });
  const placed: string[] = [];
  const challenges: (readonly [string, string])[] = [];
  const signal = new AbortController();
  /** Runs to its end, however long that takes. */
  const obtain = async (
    begun?: string,
    acme = client(),
    host = 'a.test',
  ): Promise<Obtained | AcmeError> => {
    const deps = {
      ...{ acme, seed, clock },
      placed: async (order: string) => void placed.push(order),
      challenge: async (token: string, answer: string) => void challenges.push([token, answer]),
    };
    let ended: Obtained | AcmeError | undefined;
    void obtainCertificate(host, begun, deps, signal.signal).then(
      (done) => (ended = done),
      (error: unknown) => (ended = error as AcmeError),
    );
    // Signatures take time of the machine's own, in which the clock must not run away.
    const end = clock.now() + 3_600_000;
    while (ended === undefined && clock.now() < end) {
      await clock.advance(200);
      await webCryptoIdle();
    }
    return ended ?? new AcmeError('away', 'it never ends');
  };
  return { clock, authority, client, obtain, placed, challenges, signal };
}

async function problem(outcome: Promise<Obtained | AcmeError>) {
  const error = await outcome;
  if (!(error instanceof AcmeError)) throw new Error('it was obtained');
  const { kind, message, retryAfterMs } = error;
  return { kind, message, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) };
}

describe('obtaining a certificate', () => {
  it('notes the order, has the challenge answered, and gives a certificate for its own key', async () => {
    const { authority, obtain, placed, challenges, client } = scene();
    const looked: string[] = [];
    authority.look = (host, token) => {
      looked.push(`${host} ${token} ${challenges.length}`);
      return 'valid';
    };
    const { chain, key } = (await obtain(undefined, client('ops@a.test'))) as Obtained;
    const leaf = new X509Certificate(chain);
    expect(leaf.checkHost('a.test')).toBe('a.test');
    expect(leaf.checkPrivateKey(createPrivateKey(key))).toBe(true);
    expect(placed).toEqual(['https://acme.test/order/0']);
    // The routers were asked to answer before the authority was told to look.
    expect(looked).toEqual(['a.test token-0 1']);
    expect(challenges[0]?.[1]).toMatch(/^token-0\.[A-Za-z0-9_-]{43}$/);
    expect(authority.contacts).toEqual([['mailto:ops@a.test']]);
  });

  it('goes on with an order from wherever it is, and makes the same key again', async () => {
    const { authority, obtain, placed, challenges } = scene();
    authority.look = () => 'pending';
    expect(await problem(obtain())).toMatchObject({ kind: 'away' });
    const [order] = placed;
    // It still looks, and has to find the answer again.
    authority.look = () => (challenges.length === 2 ? 'valid' : 'pending');
    const first = (await obtain(order)) as Obtained;
    expect(placed).toHaveLength(1);
    // It was issued, and nobody kept it: the successor fetches it.
    authority.requests.length = 0;
    expect(await obtain(order)).toEqual(first);
    expect(
      authority.requests.filter((each) => /finalize|challenge|POST .order$/.test(each)),
    ).toEqual([]);
    expect(authority.orders).toHaveLength(1);
  });

  it('places another order when the earlier one is over, or not known any more', async () => {
    const { authority, obtain, placed } = scene();
    authority.look = () => 'invalid';
    expect(await problem(obtain())).toEqual({
      kind: 'refused',
      message: 'a.test says something else',
    });
    authority.look = () => 'valid';
    expect(await obtain(placed[0])).toMatchObject({ chain: /BEGIN CERTIFICATE/ });
    expect(await obtain('https://acme.test/order/99')).toMatchObject({ chain: /BEGIN/ });
    expect(placed).toHaveLength(3);
  });

  it('shows another nonce when one is refused, but not for ever', async () => {
    const { authority, obtain } = scene();
    let bad = 3;
    authority.fault = (method) =>
      method === 'POST' && bad-- > 0
        ? {
            status: 400,
            headers: { 'replay-nonce': 'stale' },
            body: '{"type":"urn:ietf:params:acme:error:badNonce"}',
          }
        : undefined;
    // The nonce in that answer is no good either.
    expect(await obtain()).toMatchObject({ chain: /BEGIN/ });
    bad = Infinity;
    authority.requests.length = 0;
    expect((await problem(obtain())).message).toMatch(/HTTP 400/);
    expect(authority.requests.length).toBeLessThan(20);
  });

  it('makes its account anew when the authority has lost it', async () => {
    const { authority, obtain, client } = scene();
    const acme = client();
    await obtain(undefined, acme);
    authority.forgetAccounts();
    expect(await problem(obtain(undefined, acme))).toMatchObject({ kind: 'away' });
    expect(await obtain(undefined, acme)).toMatchObject({ chain: /BEGIN/ });
  });

  it('tells who is away from who refuses, and when to come again', async () => {
    const { authority, obtain } = scene();
    const say = (status: number, body = '', headers = {}): void => {
      authority.fault = (_method, path) =>
        path === '/order' ? { status, headers, body } : undefined;
    };
    const limited = '{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many"}';
    say(429, limited, { 'retry-after': '120' });
    expect(await problem(obtain())).toEqual({
      ...{ kind: 'away', message: 'too many', retryAfterMs: 120_000 },
    });
    say(429, limited);
    expect(await problem(obtain())).toMatchObject({ retryAfterMs: 3_600_000 });
    say(503, '<html>', { 'retry-after': 'Mon, 01 Jun 2026 01:00:00 GMT' });
    expect(await problem(obtain())).toMatchObject({ kind: 'away', message: /HTTP 503/ });
    say(403, '{"type":"urn:ietf:params:acme:error:userActionRequired","detail":"new terms"}');
    expect(await problem(obtain())).toEqual({ kind: 'refused', message: 'new terms' });
    authority.fault = () => new Error('connect ECONNREFUSED');
    expect(await problem(obtain())).toEqual({
      ...{ kind: 'away', message: 'acme.test does not answer: connect ECONNREFUSED' },
    });
    authority.fault = () => ({ status: 200, headers: {}, body: 'welcome to nginx' });
    expect(await problem(obtain())).toMatchObject({ kind: 'away', message: /not speak ACME/ });
  });

  it('takes no token that is none, no URL that is not https, and no certificate for somebody else', async () => {
    const { authority, obtain } = scene();
    const authorization = (token: string): void => {
      authority.fault = (_method, path) =>
        path.startsWith('/authorization')
          ? {
              ...{ status: 200, headers: {} },
              body: JSON.stringify({
                ...{ status: 'pending', identifier: { type: 'dns', value: 'a.test' } },
                challenges: [{ type: 'http-01', url: 'https://acme.test/challenge/0', token }],
              }),
            }
          : undefined;
    };
    authorization('../leader');
    expect(await problem(obtain())).toMatchObject({ kind: 'refused', message: /token/ });
    authority.fault = (_method, path) =>
      path === '/order'
        ? { status: 201, headers: { location: 'http://10.0.0.1/' }, body: '{}' }
        : undefined;
    expect(await problem(obtain())).toMatchObject({ kind: 'refused', message: /not https/ });
    authority.fault = () => undefined;
    authority.misissue = 'b.test';
    expect(await problem(obtain())).toMatchObject({ kind: 'refused', message: /does not fit/ });
  });

  it('ends at once when it is told to', async () => {
    const { authority, obtain, signal } = scene();
    authority.look = () => 'pending';
    const running = obtain();
    signal.abort(new Error('over'));
    expect(await running).toEqual(new Error('over'));
  });
});

describe('what a stranger says', () => {
  it('is shown in one line, without anything that could be taken for something else', () => {
    expect(fitToShow('a\u001b[31m\n\u202eb  c')).toBe('a [31m b c');
    expect(fitToShow('x'.repeat(1_000))).toHaveLength(301);
    const answer = { status: 400, headers: {}, body: '{"detail":["x"],"type":7}' };
    expect(errorOfAnswer('POST x', answer, 0).message).toBe('POST x: HTTP 400');
  });

  it('is not waited for longer than a week', () => {
    expect(retryAfterMsOf('10', 0)).toBe(10_000);
    expect(retryAfterMsOf('99999999999', 0)).toBe(7 * 86_400_000);
    expect(retryAfterMsOf('Thu, 01 Jan 1970 00:00:05 GMT', 1_000)).toBe(4_000);
    expect(retryAfterMsOf('soon', 0)).toBeUndefined();
  });
});

describe('keys of certificates', () => {
  it('differ with the order and the seed, and are the same for the same', () => {
    const key = certificateKey(seed, 'https://acme.test/order/1');
    expect(certificateKey(seed, 'https://acme.test/order/1')).toBe(key);
    expect(certificateKey(seed, 'https://acme.test/order/2')).not.toBe(key);
    expect(certificateKey(new Uint8Array(32), 'https://acme.test/order/1')).not.toBe(key);
    expect(createPrivateKey(key).asymmetricKeyDetails).toEqual({ namedCurve: 'prime256v1' });
  });
});
