import { randomUUID } from 'node:crypto';
import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import {
  issue,
  makeAuthority,
  stillGood,
  type CertificateRequest,
  type KeyPair,
} from './authority.ts';

/** A key pair together with the authority that it is to be checked against; all PEM. */
export interface TlsMaterial extends KeyPair {
  readonly ca: string;
}

/** All certificates of a control plane on one machine. etcd and the API trust different authorities. */
export interface Credentials {
  readonly etcdServer: TlsMaterial;
  /** For the embedded API server and the operator of this machine. */
  readonly etcdClient: TlsMaterial;
  /** For agents; to be carried to their hosts. */
  readonly etcdAgent: TlsMaterial;
  readonly apiServer: TlsMaterial;
  /** For the administrator's kubeconfig. */
  readonly admin: TlsMaterial;
  readonly operator: TlsMaterial;
}

export interface CredentialOptions {
  /** Where authorities and certificates are kept: `<directory>/{etcd,api}/*.{crt,key}`. */
  readonly directory: string;
  /** Names and addresses by which the servers are reached, beside localhost. */
  readonly hosts: readonly string[];
  /** Groups of the operator's certificate at the API server. */
  readonly operatorGroups: readonly string[];
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/**
 * Loads the certificates from `directory`, making those that are missing, about to end, or made for other names.
 * The authorities are made once and kept: deleting their files cuts every host off.
 */
export async function ensureCredentials(options: CredentialOptions): Promise<Credentials> {
  const hosts = [...new Set(['localhost', '127.0.0.1', ...options.hosts])];
  const etcd = await authorityIn(join(options.directory, 'etcd'), 'nap etcd', options.now);
  const api = await authorityIn(join(options.directory, 'api'), 'nap api', options.now);
  return {
    etcdServer: await etcd('server', { commonName: 'nap-etcd', hosts }),
    etcdClient: await etcd('client', { commonName: 'nap-control-plane' }),
    etcdAgent: await etcd('agent', { commonName: 'nap-agent' }),
    apiServer: await api('server', {
      commonName: 'nap-apiserver',
      hosts: [...hosts, 'kubernetes', 'kubernetes.default', 'kubernetes.default.svc'],
    }),
    admin: await api('admin', { commonName: 'nap-admin', organizations: ['system:masters'] }),
    operator: await api('operator', {
      commonName: 'nap-operator',
      organizations: options.operatorGroups,
    }),
  };
}

type Issuer = (name: string, request: CertificateRequest) => Promise<TlsMaterial>;

async function authorityIn(directory: string, name: string, now: number): Promise<Issuer> {
  const authority =
    (await readPair(directory, 'ca')) ??
    (await writePair(directory, 'ca', await makeAuthority(name, now)));
  return async (file, request) => {
    const kept = await readPair(directory, file);
    const pair =
      kept !== undefined && stillGood(kept, authority, request, now)
        ? kept
        : await writePair(directory, file, await issue(authority, request, now));
    return { ...pair, ca: authority.cert };
  };
}

async function readPair(directory: string, name: string): Promise<KeyPair | undefined> {
  try {
    return {
      cert: await readFile(join(directory, `${name}.crt`), 'utf8'),
      key: await readFile(join(directory, `${name}.key`), 'utf8'),
    };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

async function writePair(directory: string, name: string, pair: KeyPair): Promise<KeyPair> {
  await writePrivate(join(directory, `${name}.key`), pair.key);
  await writePrivate(join(directory, `${name}.crt`), pair.cert);
  return pair;
}

/** Writes a file that only its owner may read; readers see the old content or the whole new one. */
export async function writePrivate(path: string, content: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const temporary = `${path}.${randomUUID()}`;
  const file = await open(temporary, 'wx', 0o600);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
}
