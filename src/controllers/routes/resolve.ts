import { createPrivateKey, X509Certificate } from 'node:crypto';
import { parseByteSize } from '../../api/v1alpha1/byte-size.ts';
import { hashOf, type ContentRef, type FoundContent } from '../../api/v1alpha1/content.ts';
import { parseDuration } from '../../api/v1alpha1/duration.ts';
import { acmeDirectoryAnnotation } from '../../api/v1alpha1/group.ts';
import {
  acmeSecretName,
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
  readonly reason:
    | 'SecretMissing'
    | 'SecretUnreadable'
    | 'SecretInvalid'
    | 'AcmeNotConfigured'
    | 'CertificatePending'
    | 'CertificateFailed';
  readonly message: string;
}

/** What a route that has its certificate obtained by the operator asks for. */
export interface AcmeWish {
  /** Where it says so: "routes[0].tls.acme". */
  readonly field: string;
  /** Of the service's namespace. */
  readonly secret: string;
  /** Who asks over plain http is sent to https. */
  readonly redirect: boolean;
  /** The route without a certificate; absent when its other contents are not to be had. */
  readonly plain?: RouteRecord;
  /** What is in the Secret; absent: nothing that can be used for the host, or it cannot be read (`unreadable`). */
  readonly certificate?: ObtainedCertificate;
  /** It cannot be told whether there is a certificate. */
  readonly unreadable: boolean;
  /** There is a Secret of that name which the operator has not made, and never touches. */
  readonly foreign: boolean;
}

/** A certificate as the operator has obtained it. Times in milliseconds since the epoch. */
export interface ObtainedCertificate {
  readonly notBefore: number;
  readonly notAfter: number;
  /** URL of the authority's directory; absent: somebody else has put it there. */
  readonly directory?: string;
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
  readonly acme?: AcmeWish;
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
  return (spec.routes ?? []).map((route, index) => resolve(route, index, spec, lookup));
}

function resolve(
  route: RouteSpec,
  index: number,
  spec: Pick<ServiceSpec, 'ports'>,
  lookup: Lookup,
): RouteWish {
  const { host, tls, basicAuth, timeout, maxBodySize, redirectTo } = route;
  const path = normalRoutePath(route.path);
  const contents = new Map<string, string>();
  const place = { host, path, tls: tls !== undefined };
  const acme =
    tls?.acme &&
    acmeWish(host, `routes[${String(index)}].tls.acme`, tls.redirect, lookup, contents);
  try {
    const port = route.port ?? routablePorts(spec.ports)[0];
    const secret = tls?.secret;
    const certificate =
      secret === undefined ? acme?.hash : certificateOf(secret, lookup, contents).hash;
    const users = basicAuth && usersOf(basicAuth.secret, lookup, contents);
    const plain: RouteRecord = {
      host,
      path,
      ...(redirectTo === undefined ? { port } : { redirectTo }),
      ...(users === undefined ? {} : { users }),
      timeoutMs: timeout === undefined ? defaultRouteTimeoutMs : parseDuration(timeout),
      ...(maxBodySize === undefined ? {} : { maxBodyBytes: parseByteSize(maxBodySize) }),
    };
    const record = tls === undefined ? plain : secured(plain, certificate, tls.redirect);
    return {
      ...place,
      ...(record === undefined ? {} : { record }),
      ...(acme?.problem === undefined ? {} : { problem: acme.problem }),
      ...(acme === undefined ? {} : { acme: { ...acme.wish, plain } }),
      contents,
    };
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return {
      ...place,
      problem: error.problem,
      ...(acme === undefined ? {} : { acme: acme.wish }),
      contents: new Map(),
    };
  }
}

function secured(
  plain: RouteRecord,
  certificate: string | undefined,
  redirect: boolean,
): RouteRecord | undefined {
  return certificate === undefined ? undefined : { ...plain, tls: { certificate, redirect } };
}

/** What is in the Secret of a host. Whatever keeps it from being used is a reason to obtain another one, unless it cannot be read. */
export function acmeWish(
  host: string,
  field: string,
  redirect: boolean,
  lookup: Lookup,
  contents: Map<string, string>,
): { readonly wish: AcmeWish; readonly hash?: string; readonly problem?: RouteProblem } {
  const secret = acmeSecretName(host);
  const found = lookup({ kind: 'Secret', name: secret });
  const foreign =
    found.type === 'found' && found.annotations?.[acmeDirectoryAnnotation] === undefined;
  const wish: AcmeWish = { field, secret, redirect, unreadable: false, foreign };
  const pending = (): RouteProblem =>
    foreign
      ? { reason: 'SecretInvalid', message: foreignSecret(host, secret) }
      : { reason: 'CertificatePending', message: `there is no certificate for ${host} yet` };
  try {
    const { hash, leaf, annotations } = certificateOf(secret, () => found, contents);
    if (leaf.checkHost(host) === undefined) return { wish, problem: pending() };
    const directory = annotations?.[acmeDirectoryAnnotation];
    const certificate: ObtainedCertificate = {
      notBefore: Date.parse(leaf.validFrom),
      notAfter: Date.parse(leaf.validTo),
      ...(directory === undefined ? {} : { directory }),
    };
    return { wish: { ...wish, certificate }, hash };
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (error.problem.reason !== 'SecretUnreadable') return { wish, problem: pending() };
    return { wish: { ...wish, unreadable: true }, problem: error.problem };
  }
}

/** Why no certificate is obtained although there is none, and what to do. */
export function foreignSecret(host: string, secret: string): string {
  return (
    `Secret ${secret} has no certificate for ${host}, and is left as it is since the operator has not made it: ` +
    'remove it to have one obtained'
  );
}

function certificateOf(
  name: string,
  lookup: Lookup,
  contents: Map<string, string>,
): {
  readonly hash: string;
  readonly leaf: X509Certificate;
  readonly annotations: Readonly<Record<string, string>> | undefined;
} {
  const { data, uid, annotations } = find(name, lookup);
  const chain = keyOf(name, data, 'tls.crt');
  const key = keyOf(name, data, 'tls.key');
  const leaf = checkCertificate(name, chain, key);
  const pem = `${chain.trim()}\n${key.trim()}\n`;
  const hash = hashOf('Secret', uid, Buffer.from(pem));
  contents.set(hash, pem);
  return { hash, leaf, annotations };
}

/** What would make the router refuse it is said here, in words, rather than there. */
function checkCertificate(name: string, chain: string, key: string): X509Certificate {
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
  return certificate;
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
