import 'reflect-metadata';
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { FoundContent } from '../../api/v1alpha1/content.ts';
import { serviceSpec, type ServiceSpecInput } from '../../api/v1alpha1/service-spec.ts';
import { selfSigned } from '../../../test/support/tls.ts';
import { resolveRoutes } from './resolve.ts';

const crypt = `$6$salt$${'x'.repeat(86)}`;

function secret(data: Readonly<Record<string, string>>): FoundContent {
  const bytes = Object.entries(data).map(([key, text]) => [key, Buffer.from(text)] as const);
  return { type: 'found', uid: 'u1', data: new Map(bytes) };
}

function resolve(routes: ServiceSpecInput['routes'], secrets: Record<string, FoundContent> = {}) {
  const spec = serviceSpec.parse({ image: 'x', ports: ['80:8080'], routes });
  return resolveRoutes(spec, ({ name }) => secrets[name] ?? { type: 'missing' });
}

const tls = { secret: 's' };
const messages = (wishes: ReturnType<typeof resolve>) =>
  wishes.map(({ problem }) => problem?.message);

describe('the routes of a service', () => {
  it('have defaults filled in', () => {
    const [plain, other] = resolve([
      { host: 'a.test', path: '/x/', timeout: '5m', maxBodySize: '1k' },
      { host: 'b.test', redirectTo: 'https://a.test' },
    ]);
    expect(plain?.record).toEqual({
      ...{ host: 'a.test', path: '/x', port: 8080 },
      ...{ timeoutMs: 300_000, maxBodyBytes: 1024 },
    });
    expect(other?.record).toMatchObject({ path: '/', redirectTo: 'https://a.test' });
  });

  it('bring certificates and users, each by a hash that tells nothing', async () => {
    const { cert, key } = await selfSigned('a.test');
    const found = secret({ 'tls.crt': cert, 'tls.key': key, auth: `ali:${crypt}` });
    const [wish] = resolve([{ host: 'a.test', tls, basicAuth: { secret: 's' } }], { s: found });
    expect(wish?.problem).toBeUndefined();
    const { certificate } = wish?.record?.tls ?? {};
    expect(wish?.contents.get(certificate ?? '')).toBe(`${cert.trim()}\n${key.trim()}\n`);
    expect(wish?.contents.get(wish.record?.users ?? '')).toBe(`ali:${crypt}`);
  });

  it('that have their certificates obtained say what is there, and go on without when nothing is', async () => {
    const { cert, key } = await selfSigned('a.test');
    const other = await selfSigned('b.test');
    const routes = [{ host: 'a.test', tls: { acme: {} }, basicAuth: { secret: 'users' } }];
    const users = secret({ auth: `ali:${crypt}` });
    const made = { 'nap.dev/acme-directory': 'https://acme.test/dir' };
    const of = (found: FoundContent) => resolve(routes, { users, 'acme.a.test': found })[0];
    const pair = { 'tls.crt': cert, 'tls.key': key };
    const good = of({ ...secret(pair), annotations: made } as FoundContent);
    expect(good?.problem).toBeUndefined();
    expect(good?.record?.tls?.redirect).toBe(true);
    const { validFrom, validTo } = new X509Certificate(cert);
    expect(good?.acme?.certificate).toEqual({
      directory: 'https://acme.test/dir',
      ...{ notBefore: Date.parse(validFrom), notAfter: Date.parse(validTo) },
    });
    const none = of({ type: 'missing' });
    expect(none?.record).toBeUndefined();
    expect(none?.problem?.reason).toBe('CertificatePending');
    expect(none?.acme).toMatchObject({ secret: 'acme.a.test', foreign: false, unreadable: false });
    // It has its password all the same.
    expect(none?.acme?.plain).toMatchObject({ port: 8080, users: expect.any(String) as string });
    const wrong = { 'tls.crt': other.cert, 'tls.key': other.key };
    const moved = of({ ...secret(wrong), annotations: made } as FoundContent);
    expect(moved?.acme?.certificate).toBeUndefined();
    expect(moved?.problem?.reason).toBe('CertificatePending');
    const foreign = of(secret(wrong));
    expect(foreign?.acme?.foreign).toBe(true);
    expect(foreign?.problem?.message).toMatch(/^Secret acme.a.test has no certificate for a.test/);
    expect(of(secret(pair))).toMatchObject({ acme: { foreign: true, certificate: {} } });
    const away = of({ type: 'unknown', why: 'not read yet' });
    expect(away).toMatchObject({
      acme: { unreadable: true },
      problem: { reason: 'SecretUnreadable' },
    });
  });

  it('say in words what is wrong with a Secret', async () => {
    const { cert, key } = await selfSigned('a.test');
    const other = await selfSigned('b.test');
    const weak = generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey.export({
      type: 'pkcs8',
      format: 'pem',
    });
    const of = (data: Readonly<Record<string, string>>) =>
      messages(resolve([{ host: 'a.test', tls }], { s: secret(data) }))[0];
    expect(messages(resolve([{ host: 'a.test', tls }]))).toEqual(['there is no Secret s']);
    expect(of({ 'tls.crt': cert })).toBe('Secret s has no key tls.key');
    expect(of({ 'tls.crt': 'x', 'tls.key': key })).toMatch(/tls.crt is not a certificate/);
    expect(of({ 'tls.crt': cert, 'tls.key': 'x' })).toMatch(/tls.key is not a private key/);
    expect(of({ 'tls.crt': cert, 'tls.key': other.key })).toMatch(/does not belong/);
    expect(of({ 'tls.crt': cert, 'tls.key': String(weak) })).toMatch(/1024 bits/);
    const auth = (text: string) =>
      messages(
        resolve([{ host: 'a.test', basicAuth: { secret: 's' } }], { s: secret({ auth: text }) }),
      )[0];
    for (const text of [
      '',
      'ali',
      'ali:secret',
      'ali:$apr1$x$y',
      `a b:${crypt}`,
      `ali:${crypt} x`,
    ]) {
      expect(auth(text)).toMatch(/must have lines USER:HASH/);
    }
    expect(auth(`# staff\n\nali:${crypt}\r\n`)).toBeUndefined();
    const away: FoundContent = { type: 'unknown', why: 'not read yet' };
    const [unread] = resolve([{ host: 'a.test', tls }], { s: away });
    expect(unread?.problem?.reason).toBe('SecretUnreadable');
  });
});
