import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Paths of PEM files. */
export interface KeyPair {
  readonly certFile: string;
  readonly keyFile: string;
}

/** A certificate authority in a temporary directory, made with the openssl command. */
export class TestAuthority implements KeyPair {
  readonly certFile: string;
  readonly keyFile: string;
  readonly #dir: string;

  private constructor(dir: string) {
    this.#dir = dir;
    this.certFile = join(dir, 'ca.crt');
    this.keyFile = join(dir, 'ca.key');
  }

  static async create(): Promise<TestAuthority> {
    const authority = new TestAuthority(await mkdtemp(join(tmpdir(), 'nap-ca-')));
    await run('openssl', [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'],
      ...['-days', '1', '-subj', '/CN=test authority'],
      ...['-keyout', authority.keyFile, '-out', authority.certFile],
    ]);
    return authority;
  }

  /** A pair for servers on 127.0.0.1 and for clients. */
  async issue(name: string): Promise<KeyPair> {
    const file = (suffix: string): string => join(this.#dir, `${name}.${suffix}`);
    await run('openssl', [
      ...['req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'],
      ...['-subj', `/CN=${name}`, '-keyout', file('key'), '-out', file('csr')],
    ]);
    const extensions =
      'subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n';
    await writeFile(file('ext'), extensions);
    await run('openssl', [
      ...['x509', '-req', '-in', file('csr'), '-days', '1', '-extfile', file('ext')],
      ...['-CA', this.certFile, '-CAkey', this.keyFile, '-CAcreateserial', '-out', file('crt')],
    ]);
    return { certFile: file('crt'), keyFile: file('key') };
  }

  async remove(): Promise<void> {
    await rm(this.#dir, { recursive: true, force: true });
  }
}
