import { createHash } from 'node:crypto';
import { challengeFile } from './challenges.ts';
import { nowhere } from './servers.ts';
import type { Address, Backend, RouterModel } from './model.ts';

/** Where the router finds its files, and where it listens. */
export interface RouterPlace {
  /** As the router sees it. */
  readonly directory: string;
  readonly httpPort: number;
  readonly httpsPort: number;
  readonly healthPort: number;
  /** Numeric user and group that requests are served as; undefined: who starts it. */
  readonly runAs?: number;
}

/** The servers of a backend: those that have an instance, and how many there are in all. */
export interface BackendServers {
  readonly addresses: readonly Address[];
  readonly slots: number;
}

/** Everything that HAProxy reads, but for certificates. */
export interface RouterConfig {
  /** haproxy.cfg. */
  readonly text: string;
  /**
   * Stands for all of it except for which servers have which addresses. HAProxy says it of itself (`show info`), so that
   * one can ask what it runs. As long as this stays the same, nothing has to be loaded anew.
   */
  readonly structure: string;
  /** Further files, by their names in the directory; never changed, since the name says the content. */
  readonly files: ReadonlyMap<string, string>;
}

/** Longest that a worker lives on for its last connections after a new configuration was loaded. */
const hardStopAfter = '12h';

/**
 * HAProxy's configuration (2.6 and later). Pure: the same model gives the same text.
 *
 * The request's host and path are looked up as one key, in a map that finds the longest prefix: the host as it is, then
 * with its first label as "*", then "*" alone. Keys end with "/", and so does what is looked for: prefixes are whole segments. The path
 * is looked up as the service will probably read it (escapes resolved, slashes once), so that no spelling of a path gets around a
 * route that asks for a password; "." and ".." are refused.
 */
export function renderRouter(
  model: RouterModel,
  servers: (backend: Backend) => BackendServers,
  place: RouterPlace,
): RouterConfig {
  const map = model.routes
    .map(({ host, path, backend }) => `${host}${path === '/' ? '' : path}/ ${backend}\n`)
    .join('');
  const files = new Map<string, string>();
  const mapName = fileOf('routes', 'map', map, files);
  const list = certificateList(model, place);
  const listName = list === '' ? undefined : fileOf('certificates', 'list', list, files);
  const write = (structure: string, withAddresses: boolean): string =>
    [
      globalSection(structure, place),
      defaultsSection(model),
      healthSection(place),
      entrySection(place, mapName, listName),
      ...[...model.users].map(([hash, users]) => usersSection(hash, users)),
      ...[...model.backends.values()].map((backend) => {
        const { addresses, slots } = servers(backend);
        return backendSection(backend, withAddresses ? addresses : [], slots);
      }),
    ].join('\n');
  const structure = sha256(write('', false)).slice(0, 32);
  return { text: write(structure, true), structure, files };
}

/** Name of a certificate's file in the directory. */
export function certificateFile(hash: string): string {
  return `certificate-${hash}.pem`;
}

function fileOf(kind: string, ending: string, text: string, files: Map<string, string>): string {
  const name = `${kind}-${sha256(text).slice(0, 32)}.${ending}`;
  files.set(name, text);
  return name;
}

/** HAProxy's crt-list: file, options, and the names (SNI) for which it is shown. "*" is shown to whoever is left. */
function certificateList(model: RouterModel, place: RouterPlace): string {
  return [...model.certificates]
    .map(([hash, hosts]) => {
      const names = hosts.filter((host) => host !== '*');
      const filter = names.length < hosts.length ? ['*'] : names;
      return `${place.directory}/${certificateFile(hash)} [alpn h2,http/1.1] ${filter.join(' ')}\n`;
    })
    .sort()
    .join('');
}

function globalSection(structure: string, { directory, runAs }: RouterPlace): string {
  return section('global', [
    `description nap-${structure}`,
    ...(runAs === undefined
      ? []
      : [`uid ${String(runAs)}`, `gid ${String(runAs)}`, `chroot ${directory}/empty`]),
    'log stdout format raw local0 notice',
    // The engine lets containers open a thousand million files; HAProxy would make room for as many connections.
    'fd-hard-limit 50000',
    `hard-stop-after ${hardStopAfter}`,
    'tune.ssl.default-dh-param 2048',
    'ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets',
  ]);
}

function defaultsSection({ backends }: RouterModel): string {
  const longest = Math.max(60_000, ...[...backends.values()].map(({ timeoutMs }) => timeoutMs));
  return section('defaults', [
    'mode http',
    'timeout connect 2s',
    // A reader of a stream is silent for as long as the stream is.
    `timeout client ${String(longest)}ms`,
    'timeout server 60s',
    'timeout tunnel 1h',
    'timeout http-request 10s',
    'timeout http-keep-alive 30s',
    'timeout queue 10s',
    'option dontlognull',
    'option abortonclose',
    // A new configuration closes no idle connection on which a client may just be sending.
    'option idle-close-on-response',
    'balance leastconn',
    // An instance that has just gone costs nothing: another one is asked at once.
    'option redispatch 1',
    'retries 5',
    'retry-on conn-failure empty-response',
  ]);
}

function healthSection({ healthPort }: RouterPlace): string {
  return section('frontend health', [`bind :${String(healthPort)}`, 'monitor-uri /healthz']);
}

function entrySection(place: RouterPlace, mapName: string, listName: string | undefined): string {
  const { directory, httpPort, httpsPort } = place;
  const lookUp = (key: string): string =>
    `http-request set-var(txn.route) var(txn.${key}),map_beg(${directory}/${mapName})`;
  const unlessFound = 'unless { var(txn.route) -m found }';
  const isChallenge = '{ path_beg /.well-known/acme-challenge/ }';
  return section('frontend entry', [
    `bind :${String(httpPort)}`,
    // Without a certificate for the name that is asked for there is no answer, rather than a wrong one.
    `bind :${String(httpsPort)} ssl strict-sni alpn h2,http/1.1` +
      (listName === undefined ? '' : ` crt-list ${directory}/${listName}`),
    // A "/" in it would be taken for a part of the path when both are looked up.
    'http-request deny deny_status 400 if { req.hdr(host) -m reg [^A-Za-z0-9.:_-] } || { req.hdr_cnt(host) gt 1 }',
    'http-request deny deny_status 400 if { path,url_dec -m reg (^|/)[.][.]?(/|$) }',
    // What the client says of where it came from is not to be believed.
    'http-request del-header X-Forwarded-For',
    'http-request del-header Forwarded',
    'http-request set-header X-Forwarded-For %[src]',
    'http-request set-header X-Forwarded-Proto https if { ssl_fc }',
    'http-request set-header X-Forwarded-Proto http unless { ssl_fc }',
    'http-request set-header X-Forwarded-Host %[req.hdr(host)]',
    'http-request set-header X-Forwarded-Port %[dst_port]',
    'http-request set-var(txn.host) req.hdr(host),field(1,:),lower,regsub([.]$,)',
    // Before all routes, redirections and passwords: an authority looks before there is a certificate. What is not in the map
    // goes on to the routes: a service may have a client of its own.
    `http-request set-var(txn.challenge) path,regsub(^/[.]well-known/acme-challenge/,) if ${isChallenge}`,
    `http-request set-var(txn.answer) var(txn.host),concat(/,txn.challenge),map_str(${directory}/${challengeFile}) if ${isChallenge}`,
    `http-request return status 200 content-type text/plain lf-string "%[var(txn.answer)]" if ${isChallenge} { var(txn.answer) -m found }`,
    'http-request set-var(txn.path) path,url_dec,concat(/),regsub(/+,/,g)',
    'http-request set-var(txn.exact) var(txn.host),concat(,txn.path)',
    'http-request set-var(txn.wild) var(txn.host),regsub(^[^.]*,*),concat(,txn.path)',
    'http-request set-var(txn.any) str(*),concat(,txn.path)',
    lookUp('exact'),
    `${lookUp('wild')} ${unlessFound}`,
    `${lookUp('any')} ${unlessFound}`,
    `http-request return status 404 content-type text/plain string "no route\\n" ${unlessFound}`,
    'use_backend %[var(txn.route)]',
  ]);
}

function usersSection(
  hash: string,
  users: readonly { readonly name: string; readonly crypt: string }[],
): string {
  return section(
    `userlist ${userList(hash)}`,
    users.map(({ name, crypt }) => `user ${name} password ${crypt}`),
  );
}

function userList(hash: string): string {
  return `users-${hash}`;
}

function backendSection(backend: Backend, addresses: readonly Address[], slots: number): string {
  const { name, httpsOnly, users, maxBodyBytes, redirectTo, timeoutMs } = backend;
  const lines: string[] = [];
  // Before anything else: no password over plain http.
  if (httpsOnly) lines.push('http-request redirect scheme https code 308 unless { ssl_fc }');
  if (redirectTo !== undefined) {
    lines.push(`http-request redirect prefix ${redirectTo} code 308`);
    return section(`backend ${name}`, lines);
  }
  lines.push(`timeout server ${String(timeoutMs)}ms`);
  if (users !== undefined) {
    lines.push(`http-request auth realm nap unless { http_auth(${userList(users)}) }`);
  }
  if (maxBodyBytes !== undefined) {
    lines.push(
      `http-request deny deny_status 413 if { req.hdr_val(content-length) gt ${String(maxBodyBytes)} }`,
      // HAProxy gives this header to requests of unknown length over HTTP/2, too.
      'http-request return status 411 content-type text/plain string "length required\\n" if { req.hdr_cnt(transfer-encoding) gt 0 }',
    );
  }
  // What may have been done already is not to be done twice; a connection that failed has done nothing.
  lines.push('http-request disable-l7-retry unless METH_GET || { method HEAD OPTIONS }');
  for (let index = 0; index < slots; index++) {
    const address = addresses[index];
    const { ip, port } = address ?? nowhere;
    lines.push(
      `server s${String(index + 1)} ${ip}:${String(port)}${address === undefined ? ' disabled' : ''}`,
    );
  }
  return section(`backend ${name}`, lines);
}

function section(title: string, lines: readonly string[]): string {
  return `${[title, ...lines.map((line) => `  ${line}`)].join('\n')}\n`;
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
