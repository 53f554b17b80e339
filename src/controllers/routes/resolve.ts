import { createPrivateKey, X509Certificate } from 'node:crypto';
import { parseByteSize } from '../../api/v1alpha1/byte-size.ts';
import { hashOf, type ContentRef, type FoundContent } from '../../api/v1alpha1/content.ts';
import { parseDuration } from '../../api/v1alpha1/duration.ts';
import {
  defaultRouteTimeoutMs,
  normalRoutePath,
  type RouteSpec,
} from '../../api/v1alpha1/route.ts';
import type { ServiceSpec } from '../../api/v1alpha1/service-spec.ts';
import { routablePorts } from '../../api/v1alpha1/validate-routes.ts';
import { parseUsers } from '../../network/haproxy/model.ts';
import type { RouteRecord } from '../../registry/records/route.ts';

/** Why a route is not as it should be. */
export interface RouteProblem {
  readonly reason: 'SecretMissing' | 'SecretUnreadable' | 'SecretInvalid';
  readonly message: string;
}

/** One route that a service asks for, with what it needs from Secrets. */
export interface RouteWish {
  readonly host: string;
  readonly path: string;
  readonly tls: boolean;
  /** As it goes to the routers; absent when its contents are not to be had. */
  readonly record?: RouteRecord;
  readonly problem?: RouteProblem;
  /** Contents by their hashes. */
  readonly contents: ReadonlyMap<string, string>;
}

class Refused extends Error {
  readonly problem: RouteProblem;
  constructor(reason: RouteProblem['reason'], message: string) {
    super(message);
    this.problem = { reason, message };
  }
}

type Lookup = (ref: ContentRef) => FoundContent;

/** The routes of a valid spec. Pure. */
export function resolveRoutes(
  spec: Pick<ServiceSpec, 'routes' | 'ports'>,
  lookup: Lookup,
): RouteWish[] {
  return (spec.routes ?? []).map((route) => resolve(route, spec, lookup));
}

function resolve(route: RouteSpec, spec: Pick<ServiceSpec, 'ports'>, lookup: Lookup): RouteWish {
  const { host, tls, basicAuth, timeout, maxBodySize, redirectTo } = route;
  const path = normalRoutePath(route.path);
  const contents = new Map<string, string>();
  const place = { host, path, tls: tls !== undefined };
  try {
    const port = route.port ?? routablePorts(spec.ports)[0];
    const certificate = tls && certificateOf(tls.secret, lookup, contents);
    const users = basicAuth && usersOf(basicAuth.secret, lookup, contents);
    const record: RouteRecord = {
      host,
      path,
      ...(redirectTo === undefined ? { port } : { redirectTo }),
      ...(tls === undefined || certificate === undefined
        ? {}
        : { tls: { certificate, redirect: tls.redirect } }),
      ...(users === undefined ? {} : { users }),
      timeoutMs: timeout === undefined ? defaultRouteTimeoutMs : parseDuration(timeout),
      ...(maxBodySize === undefined ? {} : { maxBodyBytes: parseByteSize(maxBodySize) }),
    };
    return { ...place, record, contents };
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return { ...place, problem: error.problem, contents: new Map() };
  }
}

function certificateOf(name: string, lookup: Lookup, contents: Map<string, string>): string {
  const { data, uid } = find(name, lookup);
  const chain = keyOf(name, data, 'tls.crt');
  const key = keyOf(name, data, 'tls.key');
  checkCertificate(name, chain, key);
  const pem = `${chain.trim()}\n${key.trim()}\n`;
  const hash = hashOf('Secret', uid, Buffer.from(pem));
  contents.set(hash, pem);
  return hash;
}

/** What would make the router refuse it is said here, in words, rather than there. */
function checkCertificate(name: string, chain: string, key: string): void {
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(chain);
  } catch {
    throw new Refused('SecretInvalid', `Secret ${name}: tls.crt is not a certificate (PEM)`);
  }
  let fits: boolean;
  try {
    const privateKey = createPrivateKey(key);
    fits = certificate.checkPrivateKey(privateKey);
    const bits = privateKey.asymmetricKeyDetails?.modulusLength;
    if (bits !== undefined && bits < 2048) {
      throw new Refused(
        'SecretInvalid',
        `Secret ${name}: an RSA key of ${String(bits)} bits: at least 2048 are needed`,
      );
    }
  } catch (error) {
    if (error instanceof Refused) throw error;
    throw new Refused(
      'SecretInvalid',
      `Secret ${name}: tls.key is not a private key (PEM, without a password)`,
    );
  }
  if (!fits) {
    throw new Refused('SecretInvalid', `Secret ${name}: tls.key does not belong to tls.crt`);
  }
}

function usersOf(name: string, lookup: Lookup, contents: Map<string, string>): string {
  const { data, uid } = find(name, lookup);
  const text = keyOf(name, data, 'auth');
  if (parseUsers(text) === undefined) {
    throw new Refused(
      'SecretInvalid',
      `Secret ${name}: "auth" must have lines USER:HASH, with hashes of SHA-256, SHA-512 (mkpasswd -m sha-256) or bcrypt (htpasswd -B)`,
    );
  }
  const hash = hashOf('Secret', uid, Buffer.from(text));
  contents.set(hash, text);
  return hash;
}

function find(name: string, lookup: Lookup): Extract<FoundContent, { type: 'found' }> {
  const found = lookup({ kind: 'Secret', name });
  if (found.type === 'found') return found;
  if (found.type === 'missing') throw new Refused('SecretMissing', `there is no Secret ${name}`);
  throw new Refused('SecretUnreadable', `Secret ${name}: ${found.why}`);
}

function keyOf(name: string, data: ReadonlyMap<string, Uint8Array>, key: string): string {
  const bytes = data.get(key);
  if (bytes === undefined) throw new Refused('SecretMissing', `Secret ${name} has no key ${key}`);
  return Buffer.from(bytes).toString('utf8');
}
