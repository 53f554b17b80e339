import { readFile } from 'node:fs/promises';
import { isIPv4 } from 'node:net';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { isLoopback } from '../network/loopback.ts';
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
