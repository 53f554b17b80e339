import { createHash } from 'node:crypto';
import { tryParseIpv4 } from '../address/cidr.ts';
import {
  safeAddress,
  safeCrypt,
  safeHash,
  safeHost,
  safePath,
  safePort,
  safeUser,
} from './words.ts';

/** A route as the registry has it. */
export interface RouteInput {
  /** Names the service among all. */
  readonly service: string;
  readonly host: string;
  readonly path: string;
  readonly port?: number | undefined;
  readonly redirectTo?: string | undefined;
  readonly tls?: { readonly certificate: string; readonly redirect: boolean } | undefined;
  /** Hash of a content with lines USER:HASH. */
  readonly users?: string | undefined;
  readonly timeoutMs: number;
  readonly maxBodyBytes?: number | undefined;
}

export interface Address {
  readonly ip: string;
  readonly port: number;
}

/** What answers requests: instances of a service, or a redirection. All words in it are safe to write. */
export interface Backend {
  readonly name: string;
  readonly service: string;
  readonly port: number | undefined;
  readonly redirectTo: string | undefined;
  readonly httpsOnly: boolean;
  readonly users: string | undefined;
  readonly timeoutMs: number;
  readonly maxBodyBytes: number | undefined;
}

export interface RouterModel {
  /** By name, in its order. */
  readonly backends: ReadonlyMap<string, Backend>;
  /** Host and path, to the name of a backend. */
  readonly routes: readonly {
    readonly host: string;
    readonly path: string;
    readonly backend: string;
  }[];
  /** Hash of a certificate, to the hosts that it is shown to. */
  readonly certificates: ReadonlyMap<string, readonly string[]>;
  /** Hash of users, to names and hashes of passwords. */
  readonly users: ReadonlyMap<string, readonly { readonly name: string; readonly crypt: string }[]>;
  /** Routes that are left out, with what is wrong with them. */
  readonly refused: readonly { readonly route: RouteInput; readonly why: string }[];
}

/**
 * Reads routes and contents into a model that is safe to write down. One that cannot be used is left out and told of; it
 * disturbs no other.
 * @param content of a route secret by its hash; undefined: it is not here.
 */
export function routerModel(
  inputs: readonly RouteInput[],
  content: (hash: string) => string | undefined,
): RouterModel {
  const backends = new Map<string, Backend>();
  const routes: { host: string; path: string; backend: string }[] = [];
  const certificates = new Map<string, string[]>();
  const certified = new Set<string>();
  const users = new Map<string, readonly { name: string; crypt: string }[]>();
  const refused: { route: RouteInput; why: string }[] = [];
  const taken = new Set<string>();
  for (const route of inputs.toSorted(byPlace)) {
    const why = whyUnusable(route, content);
    if (why !== undefined) {
      refused.push({ route, why });
      continue;
    }
    const place = `${route.host}${route.path}`;
    if (taken.has(place)) {
      refused.push({ route, why: 'another route is for the same host and path' });
      continue;
    }
    taken.add(place);
    const backend = backendOf(route);
    backends.set(backend.name, backend);
    routes.push({ host: route.host, path: route.path, backend: backend.name });
    if (route.users !== undefined && !users.has(route.users)) {
      users.set(route.users, parseUsers(content(route.users) ?? '') ?? []);
    }
    if (route.tls !== undefined && !certified.has(route.host)) {
      certified.add(route.host);
      const { certificate } = route.tls;
      certificates.set(certificate, [...(certificates.get(certificate) ?? []), route.host]);
    }
  }
  const byName = [...backends].sort(([a], [b]) => (a < b ? -1 : 1));
  return { backends: new Map(byName), routes, certificates, users, refused };
}

function byPlace(a: RouteInput, b: RouteInput): number {
  const [left, right] = [`${a.host}${a.path}\n${a.service}`, `${b.host}${b.path}\n${b.service}`];
  return left < right ? -1 : left > right ? 1 : 0;
}

function whyUnusable(
  route: RouteInput,
  content: (hash: string) => string | undefined,
): string | undefined {
  const { host, path, port, redirectTo, tls, users, timeoutMs, maxBodyBytes } = route;
  if (safeHost(host) === undefined) return 'its host is not one';
  if (safePath(path) === undefined) return 'its path is not one';
  if (redirectTo === undefined && (port === undefined || safePort(port) === undefined)) {
    return 'it has no port';
  }
  if (redirectTo !== undefined && safeAddress(redirectTo) === undefined) {
    return 'what it redirects to is not an address';
  }
  if (!Number.isSafeInteger(timeoutMs) || timeoutMs <= 0) return 'its timeout is not one';
  if (maxBodyBytes !== undefined && !(Number.isSafeInteger(maxBodyBytes) && maxBodyBytes >= 0)) {
    return 'its greatest size is not one';
  }
  if (tls !== undefined) {
    const safe = safeHash(tls.certificate);
    if (safe === undefined || content(safe) === undefined) return 'its certificate is not here';
  }
  if (users !== undefined) {
    const text = safeHash(users) === undefined ? undefined : content(users);
    // Never open to all because who may enter is not known.
    if (text === undefined) return 'its users are not here';
    if (parseUsers(text) === undefined) return 'its users cannot be read';
  }
  return undefined;
}

/** Routes that say the same of one service share a backend. */
function backendOf(route: RouteInput): Backend {
  const { service, port, redirectTo, tls, users, timeoutMs, maxBodyBytes } = route;
  const httpsOnly = tls?.redirect === true;
  const says = [service, port, redirectTo, httpsOnly, users, timeoutMs, maxBodyBytes];
  const name = `b-${createHash('sha256').update(JSON.stringify(says)).digest('hex').slice(0, 20)}`;
  return { name, service, port, redirectTo, httpsOnly, users, timeoutMs, maxBodyBytes };
}

/** Lines USER:HASH; empty ones and those that begin with "#" do not count. Undefined: some line is neither. */
export function parseUsers(
  text: string,
): readonly { readonly name: string; readonly crypt: string }[] | undefined {
  const users = new Map<string, string>();
  for (const line of text.split(/\r?\n/)) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const colon = line.indexOf(':');
    const name = safeUser(line.slice(0, Math.max(0, colon)));
    const crypt = safeCrypt(line.slice(colon + 1).trim());
    if (name === undefined || crypt === undefined) return undefined;
    users.set(name, crypt);
  }
  if (users.size === 0) return undefined;
  return [...users].map(([name, crypt]) => ({ name, crypt }));
}

/** The addresses of a backend, each once, in an order that does not depend on when they were told. */
export function usableAddresses(addresses: readonly Address[]): Address[] {
  const found = new Map<string, Address>();
  for (const { ip, port } of addresses) {
    if (tryParseIpv4(ip) !== undefined && safePort(port) !== undefined) {
      found.set(`${ip}:${String(port)}`, { ip, port });
    }
  }
  return [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, address]) => address);
}
