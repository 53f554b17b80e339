import 'reflect-metadata';
import { createHash, createPublicKey, verify, webcrypto, type JsonWebKey } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import type { AcmeTransport } from '../../src/controllers/certificates/transport.ts';

type Answer = Awaited<ReturnType<AcmeTransport>>;

interface FakeOrder {
  readonly host: string;
  status: 'pending' | 'ready' | 'processing' | 'valid' | 'invalid';
  error?: object;
  chain?: string;
}

interface Head {
  readonly alg: string;
  readonly nonce: string;
  readonly url: string;
  readonly kid?: string;
  readonly jwk?: JsonWebKey;
}

interface Payload {
  readonly contact?: readonly string[];
  readonly identifiers?: readonly { readonly value: string }[];
  readonly csr?: string;
}

/** What comes of a request; undefined: what should. */
type Fault = (method: string, path: string) => Answer | Error | undefined;

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const origin = 'https://acme.test';

/**
 * An authority in this process that can misbehave: checks signatures, nonces and the account of each request as RFC 8555 asks for;
 * validates when it is told to.
 */
export class FakeAcme {
  readonly directory = `${origin}/dir`;
  readonly requests: string[] = [];
  readonly orders: FakeOrder[] = [];
  readonly contacts: unknown[] = [];
  /** Answers that are given in place of its own. */
  fault: Fault = () => undefined;
  /** What comes of a look at a host. */
  look: (host: string, token: string) => 'valid' | 'invalid' | 'pending' = () => 'valid';
  /** Milliseconds since the epoch. */
  now: () => number;
  validityMs = 90 * 86_400_000;
  /** For whom it issues, in place of who asked. */
  misissue: string | undefined;
  readonly #nonces = new Set<string>();
  readonly #accounts = new Map<string, JsonWebKey>();
  readonly #looked = new Set<string>();
  #count = 0;

  constructor(now: () => number) {
    this.now = now;
  }

  /** Forgets accounts, as one that lost its disk. */
  forgetAccounts(): void {
    this.#accounts.clear();
  }

  readonly transport: AcmeTransport = async (method, url, body) => {
    const path = url.slice(origin.length);
    this.requests.push(`${method} ${path}`);
    const fault = this.fault(method, path);
    if (fault instanceof Error) throw fault;
    if (fault !== undefined) return fault;
    if (method === 'GET') {
      return this.#say(200, {
        ...{ newNonce: `${origin}/nonce`, newAccount: `${origin}/account` },
        newOrder: `${origin}/order`,
      });
    }
    if (method === 'HEAD') return this.#say(200, '');
    return this.#post(url, path, body ?? '');
  };

  async #post(url: string, path: string, body: string): Promise<Answer> {
    const jws = JSON.parse(body) as Record<'protected' | 'payload' | 'signature', string>;
    const text = (part: string): string => Buffer.from(part, 'base64url').toString();
    const head = JSON.parse(text(jws.protected)) as Head;
    const payload = jws.payload === '' ? undefined : (JSON.parse(text(jws.payload)) as Payload);
    if (!this.#nonces.delete(head.nonce)) return this.#refuse(400, 'badNonce', 'an old nonce');
    const jwk = head.jwk ?? this.#accounts.get(head.kid ?? '');
    if (jwk === undefined) return this.#refuse(400, 'accountDoesNotExist', 'who are you?');
    const key = createPublicKey({ key: jwk, format: 'jwk' });
    const signature = Buffer.from(jws.signature, 'base64url');
    const signed = Buffer.from(`${jws.protected}.${jws.payload}`);
    const good = verify('sha256', signed, { key, dsaEncoding: 'ieee-p1363' }, signature);
    if (!good || head.alg !== 'ES256' || head.url !== url) {
      return this.#refuse(403, 'unauthorized', 'the signature is wrong');
    }
    const [, what, n] = path.split('/');
    if (what === 'account') return this.#account(jwk, payload);
    if (what === 'order' && n === undefined) return this.#order(payload);
    const order = this.orders[Number(n)];
    if (order === undefined) return this.#refuse(404, 'malformed', 'there is no such thing');
    const token = `token-${n ?? ''}`;
    if (what === 'challenge') this.#looked.add(token);
    const looks = order.status === 'pending' && this.#looked.has(token) && what !== 'order';
    const seen = looks ? this.look(order.host, token) : 'pending';
    if (seen !== 'pending') order.status = seen === 'valid' ? 'ready' : 'invalid';
    if (what === 'finalize' && payload?.csr !== undefined) await this.#issue(order, payload.csr);
    if (what === 'certificate') return this.#say(200, order.chain ?? '');
    if (what === 'authorization' || what === 'challenge') {
      return this.#say(200, this.#authorization(order, n ?? '', token));
    }
    const { status, error } = order;
    return this.#say(200, {
      ...{ status, error, authorizations: [`${origin}/authorization/${n ?? ''}`] },
      finalize: `${origin}/finalize/${n ?? ''}`,
      ...(status === 'valid' ? { certificate: `${origin}/certificate/${n ?? ''}` } : {}),
    });
  }

  #account(jwk: JsonWebKey, payload: Payload | undefined): Answer {
    const kid = `${origin}/account/${createHash('sha256').update(JSON.stringify(jwk)).digest('hex')}`;
    const known = this.#accounts.has(kid);
    this.#accounts.set(kid, jwk);
    this.contacts.push(payload?.contact);
    return this.#say(known ? 200 : 201, { contact: payload?.contact }, { location: kid });
  }

  #order(payload: Payload | undefined): Answer {
    const host = payload?.identifiers?.[0]?.value ?? '';
    const n = this.orders.push({ host, status: 'pending' }) - 1;
    return this.#say(201, { status: 'pending' }, { location: `${origin}/order/${n}` });
  }

  #authorization({ host, status }: FakeOrder, n: string, token: string): object {
    const detail = `${host} says something else`;
    const error = { type: 'urn:ietf:params:acme:error:unauthorized', detail };
    const stands = status === 'pending' || status === 'invalid' ? status : 'valid';
    const url = `${origin}/challenge/${n}`;
    return {
      ...{ status: stands, identifier: { type: 'dns', value: host } },
      challenges: [
        { type: 'dns-01', url, token },
        {
          ...{ type: 'http-01', url, token },
          status: stands === 'pending' && this.#looked.has(token) ? 'processing' : stands,
          ...(status === 'invalid' ? { error } : {}),
        },
      ],
    };
  }

  async #issue(order: FakeOrder, csr: string): Promise<void> {
    x509.cryptoProvider.set(webcrypto);
    const request = new x509.Pkcs10CertificateRequest(Buffer.from(csr, 'base64url'));
    if (!(await request.verify())) throw new Error('the request is not signed with its key');
    const names = request.extensions.filter(
      (each) => each instanceof x509.SubjectAlternativeNameExtension,
    );
    const asked = names.flatMap(({ names: all }) => all.toJSON().map(({ value }) => value));
    if (JSON.stringify(asked) !== JSON.stringify([order.host])) throw new Error(String(asked));
    const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
    const now = this.now();
    const certificate = await x509.X509CertificateGenerator.create({
      ...{ subject: '', issuer: 'CN=fake', publicKey: request.publicKey },
      ...{ notBefore: new Date(now), notAfter: new Date(now + this.validityMs) },
      ...{ signingKey: keys.privateKey, signingAlgorithm: algorithm },
      extensions: [
        new x509.SubjectAlternativeNameExtension([
          { type: 'dns', value: this.misissue ?? order.host },
        ]),
      ],
    });
    order.chain = `${certificate.toString('pem')}\n`;
    order.status = 'valid';
  }

  #refuse(status: number, type: string, detail: string): Answer {
    return this.#say(status, { type: `urn:ietf:params:acme:error:${type}`, detail });
  }

  #say(status: number, body: object | string, headers: Record<string, string> = {}): Answer {
    const nonce = `nonce-${String(this.#count++)}`;
    this.#nonces.add(nonce);
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    return { status, headers: { 'replay-nonce': nonce, ...headers }, body: text };
  }
}
