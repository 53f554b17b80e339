import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { isIPv4 } from 'node:net';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { isImageReference } from '../api/v1alpha1/image-reference.ts';
import type { AcmeOptions } from '../controllers/certificates/loop.ts';
import type { RouterOptions } from '../controllers/routes/router-service.ts';
import { isLoopback } from '../network/address/loopback.ts';
import { defaultVirtualRange, parseVirtualRange } from '../network/virtual-ip/virtual-range.ts';
import type { EtcdTlsMaterial } from '../registry/etcd/store.ts';
import { createLogger, type Logger, type LogLevel, logLevels } from '../telemetry/log.ts';

/** A mistake of the person at the keyboard: shown without a stack trace. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

export interface LogFlags {
  readonly logLevel: LogLevel;
}

/** `--log-level`. */
export function addLogFlags(command: Command): Command {
  return command.addOption(
    new Option('--log-level <level>', 'how much to log, as JSON lines on standard error')
      .choices(logLevels)
      .default('info')
      .env('NAP_LOG_LEVEL'),
  );
}

export function loggerFor(flags: LogFlags): Logger {
  return createLogger(flags.logLevel);
}

export interface EtcdFlags {
  readonly etcd?: readonly string[];
  readonly etcdCa?: string;
  readonly etcdCert?: string;
  readonly etcdKey?: string;
  readonly insecure?: boolean;
}

/** `--etcd`, `--etcd-ca`, `--etcd-cert`, `--etcd-key`, `--insecure`. */
export function addEtcdFlags(
  command: Command,
  what = 'client URLs of etcd, comma-separated',
): Command {
  return command
    .addOption(new Option('--etcd <urls>', what).argParser(urlList).env('NAP_ETCD'))
    .addOption(new Option('--etcd-ca <file>', "certificate of etcd's authority").env('NAP_ETCD_CA'))
    .addOption(new Option('--etcd-cert <file>', 'certificate to show to etcd').env('NAP_ETCD_CERT'))
    .addOption(new Option('--etcd-key <file>', 'key of that certificate').env('NAP_ETCD_KEY'))
    .option('--insecure', 'allow plain http, on the loopback interface only');
}

export interface EtcdConnection {
  readonly hosts: readonly string[];
  readonly tls?: EtcdTlsMaterial;
}

/** Reads the certificates that the flags name. Throws UsageError that says which flag is missing or wrong. */
export async function etcdConnection(flags: EtcdFlags): Promise<EtcdConnection> {
  const hosts = flags.etcd ?? [];
  if (hosts.length === 0) throw new UsageError('say where etcd is: --etcd https://10.0.0.1:2379');
  const plain = hosts.filter((host) => host.startsWith('http:'));
  if (plain.length > 0) {
    if (flags.insecure !== true) {
      throw new UsageError(
        `${plain.join(', ')}: plain http is refused; use https with --etcd-ca, --etcd-cert and --etcd-key ` +
          '(or --insecure, for an etcd on the loopback interface)',
      );
    }
    const remote = plain.filter((host) => !isLoopback(new URL(host).hostname));
    if (remote.length > 0) {
      throw new UsageError(
        `--insecure is for the loopback interface only, not for ${remote.join(', ')}`,
      );
    }
    return { hosts };
  }
  const { etcdCa, etcdCert, etcdKey } = flags;
  if (etcdCa === undefined || etcdCert === undefined || etcdKey === undefined) {
    throw new UsageError('https needs --etcd-ca, --etcd-cert and --etcd-key, all three');
  }
  return {
    hosts,
    tls: {
      ca: await readNamedFile('--etcd-ca', etcdCa),
      cert: await readNamedFile('--etcd-cert', etcdCert),
      key: await readNamedFile('--etcd-key', etcdKey),
    },
  };
}

/** The text of a file that a flag names; the error names the flag. */
export async function readNamedFile(flag: string, path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw new UsageError(`${flag} ${path}: ${(error as Error).message}`);
  }
}

/** Parses `https://a:2379,https://b:2379`. */
function urlList(text: string): string[] {
  const urls = text.split(',').map((url) => url.trim().replace(/\/$/, ''));
  for (const url of urls) {
    if (!/^https?:\/\/[^/]+$/.test(url)) {
      throw new InvalidArgumentError(`"${url}" is not a URL such as https://10.0.0.1:2379.`);
    }
  }
  return urls;
}

/** Parses `region=eu,disk=ssd`; may be repeated. */
export function keyValues(
  text: string,
  previous: Record<string, string> = {},
): Record<string, string> {
  const values = { ...previous };
  for (const pair of text.split(',')) {
    const match = /^\s*([A-Za-z0-9](?:[-A-Za-z0-9_./]*[A-Za-z0-9])?)=([^,=]*?)\s*$/.exec(pair);
    if (match === null) {
      throw new InvalidArgumentError(`"${pair}" is not of the form key=value.`);
    }
    values[match[1] ?? ''] = match[2] ?? '';
  }
  return values;
}

/** Parses a TCP port. */
export function portNumber(text: string): number {
  const port = Number(text);
  if (!/^\d+$/.test(text) || port < 1 || port > 65_535) {
    throw new InvalidArgumentError(`"${text}" is not a port from 1 to 65535.`);
  }
  return port;
}

export interface HealthFlags {
  readonly healthPort?: number;
  readonly healthAddress: string;
}

/** Flags of a process that tells how it is. */
export function addHealthFlags(command: Command): Command {
  return command
    .option('--health-port <port>', 'serve /healthz, /readyz and /metrics on this port', portNumber)
    .option('--health-address <address>', 'address for --health-port', '127.0.0.1');
}

/** Where to serve them; undefined: nowhere. */
export function healthPlace({
  healthPort: port,
  healthAddress: host,
}: HealthFlags): { readonly host: string; readonly port: number } | undefined {
  return port === undefined ? undefined : { host, port };
}

/** Parses an IPv4 address. */
export function ipv4(text: string): string {
  if (!isIPv4(text)) throw new InvalidArgumentError(`"${text}" is not an IPv4 address.`);
  return text;
}

/** Parses a number of seconds, with `minimum`, into milliseconds. */
export function seconds(minimum: number): (text: string) => number {
  return (text) => {
    const value = Number(text.replace(/s$/, ''));
    if (!Number.isInteger(value) || value < minimum) {
      throw new InvalidArgumentError(
        `"${text}" is not a whole number of seconds, at least ${minimum}.`,
      );
    }
    return value * 1000;
  };
}

export interface VirtualRangeFlags {
  readonly virtualIpRange: string;
}

/** `--virtual-ip-range`. */
export function addVirtualRangeFlag(command: Command): Command {
  return command.addOption(
    new Option(
      '--virtual-ip-range <cidr>',
      'where services get their virtual IPs from; must not overlap the overlay or any network of a host',
    )
      .argParser(virtualRange)
      .default(defaultVirtualRange)
      .env('NAP_VIRTUAL_IP_RANGE'),
  );
}

function virtualRange(text: string): string {
  try {
    parseVirtualRange(text);
  } catch (error) {
    throw new InvalidArgumentError(`${(error as Error).message}.`);
  }
  return text;
}

export interface RouterFlags {
  readonly routerImage?: string;
  readonly routerHosts?: Record<string, string>;
  readonly acmeDirectory?: string;
  readonly acmeEmail?: string;
  readonly acmeCaFile?: string;
  readonly acmeAgreeTos?: boolean;
}

/** What the operator is told about routers, shared with `nap up`. */
export function addRouterFlags(command: Command): Command {
  return command
    .option(
      '--router-image <image>',
      'run a router for `routes` of services on the ports 80 and 443 of each host: an image with HAProxy 2.6 or later, ' +
        'e.g. haproxy:lts (default: none is run)',
    )
    .option(
      '--router-hosts <key=value,…>',
      'run routers only on hosts with these labels (default: on all)',
      keyValues,
    )
    .addOption(
      new Option(
        '--acme-directory <url>',
        'obtain the certificates of routes with `tls: {acme: {}}` from this authority (RFC 8555), e.g. ' +
          `${letsEncrypt} for Let's Encrypt (default: none are obtained)`,
      )
        .argParser(httpsUrl)
        .env('NAP_ACME_DIRECTORY'),
    )
    .option(
      '--acme-agree-tos',
      "agree to that authority's terms of service, which its directory names: needed with --acme-directory",
    )
    .option('--acme-email <address>', 'whom the authority may write to', emailAddress)
    .option(
      '--acme-ca-file <file>',
      "trust this certificate (PEM), too, when speaking to the authority: for one of one's own",
    );
}

/** Of the directory of the authority that most will use. */
const letsEncrypt = 'https://acme-v02.api.letsencrypt.org/directory';

function httpsUrl(text: string): string {
  if (!URL.canParse(text) || new URL(text).protocol !== 'https:') {
    throw new InvalidArgumentError(`"${text}" is not an https URL such as ${letsEncrypt}.`);
  }
  return text;
}

function emailAddress(text: string): string {
  if (!/^[^\s@,?]+@[^\s@,?]+$/.test(text)) {
    throw new InvalidArgumentError(`"${text}" is not an address such as ops@example.com.`);
  }
  return text;
}

/** As the operator takes it; undefined: no certificates are to be obtained. @throws {UsageError} that says what is missing or wrong */
export async function acmeOptions(flags: RouterFlags): Promise<AcmeOptions | undefined> {
  const { acmeDirectory: directory, acmeEmail, acmeCaFile, acmeAgreeTos } = flags;
  if (directory === undefined) {
    const flag =
      (acmeEmail !== undefined && '--acme-email') ||
      (acmeCaFile !== undefined && '--acme-ca-file') ||
      (acmeAgreeTos === true && '--acme-agree-tos');
    if (flag !== false) throw new UsageError(`${flag} goes with --acme-directory`);
    return undefined;
  }
  if (acmeAgreeTos !== true) {
    throw new UsageError(
      `--acme-directory: the authority asks for consent to its terms of service, which ${directory} names: read them, and add --acme-agree-tos`,
    );
  }
  const ca =
    acmeCaFile === undefined ? undefined : await readNamedFile('--acme-ca-file', acmeCaFile);
  if (ca !== undefined) assertCertificate('--acme-ca-file', ca);
  return {
    directory,
    ...(acmeEmail === undefined ? {} : { email: acmeEmail }),
    ...(ca === undefined ? {} : { ca }),
  };
}

function assertCertificate(flag: string, pem: string): void {
  try {
    new X509Certificate(pem);
  } catch {
    throw new UsageError(`${flag}: the file has no certificate (PEM)`);
  }
}

/** As the operator takes it; undefined: no routers are asked for. */
export function routerOptions(flags: RouterFlags): RouterOptions | undefined {
  const { routerImage: image, routerHosts: hosts } = flags;
  if (image === undefined) {
    if (hosts !== undefined) throw new UsageError('--router-hosts goes with --router-image');
    return undefined;
  }
  if (!isImageReference(image)) {
    throw new UsageError(
      `--router-image: "${image}" is not an image reference: use e.g. haproxy:lts`,
    );
  }
  return { image, ...(hosts === undefined ? {} : { hosts }) };
}
