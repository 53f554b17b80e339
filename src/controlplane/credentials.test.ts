import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, createServer } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ensureCredentials, type TlsMaterial } from './credentials.ts';

describe('ensureCredentials', () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'nap-pki-'));
  });
  afterEach(async () => {
    await rm(directory, { recursive: true });
  });
  const make = (now = Date.now(), hosts = ['10.9.8.7', 'box.example']) =>
    ensureCredentials({ directory, hosts, operatorGroups: ['nap:operators'], now });

  it('makes certificates with which both sides of a connection prove themselves', async () => {
    const credentials = await make();
    const peer = await handshake(credentials.etcdServer, credentials.etcdAgent);
    expect(peer).toBe('nap-agent');
  });

  it('keeps the API and etcd apart: a key of one is refused by the other', async () => {
    const credentials = await make();
    await expect(handshake(credentials.etcdServer, credentials.admin)).rejects.toThrow();
  });

  it('names the addresses it was asked for, and localhost', async () => {
    const { apiServer } = await make();
    const cert = new X509Certificate(apiServer.cert);
    expect(cert.checkIP('10.9.8.7')).toBe('10.9.8.7');
    expect(cert.checkIP('127.0.0.1')).toBe('127.0.0.1');
    expect(cert.checkHost('box.example')).toBe('box.example');
    expect(cert.checkIP('10.9.8.8')).toBeUndefined();
  });

  it('puts user and group where Kubernetes looks for them', async () => {
    const { operator, admin } = await make();
    expect(new X509Certificate(operator.cert).subject).toBe('O=nap:operators\nCN=nap-operator');
    expect(new X509Certificate(admin.cert).subject).toBe('O=system:masters\nCN=nap-admin');
  });

  it('is the same the second time', async () => {
    const first = await make();
    expect(await make()).toEqual(first);
  });

  it('keeps the authority and makes new certificates when the names change', async () => {
    const first = await make();
    const second = await make(Date.now(), ['10.1.1.1']);
    expect(second.apiServer.ca).toBe(first.apiServer.ca);
    expect(second.apiServer.cert).not.toBe(first.apiServer.cert);
    expect(second.admin).toEqual(first.admin);
  });

  it('renews in time', async () => {
    const first = await make();
    const later = Date.now() + 320 * 86_400_000;
    const second = await make(later);
    expect(second.admin.ca).toBe(first.admin.ca);
    expect(new Date(new X509Certificate(second.admin.cert).validTo).getTime()).toBeGreaterThan(
      later + 360 * 86_400_000,
    );
  });

  it('replaces a certificate that cannot be read', async () => {
    await make();
    const path = join(directory, 'api', 'admin.crt');
    const { writeFile } = await import('node:fs/promises');
    await writeFile(path, 'rubbish');
    await make();
    expect(await readFile(path, 'utf8')).toContain('BEGIN CERTIFICATE');
  });

  it('lets nobody else read the keys', async () => {
    await make();
    expect((await stat(join(directory, 'api', 'ca.key'))).mode & 0o077).toBe(0);
  });
});

/** Resolves with the client's name as the server sees it. */
async function handshake(server: TlsMaterial, client: TlsMaterial): Promise<string> {
  const listener = createServer({ ...server, requestCert: true, rejectUnauthorized: true });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address() as { port: number };
  const name = new Promise<string>((resolve, reject) => {
    listener.on('secureConnection', (socket) => {
      resolve(String(socket.getPeerCertificate().subject.CN));
      socket.end();
    });
    listener.on('tlsClientError', reject);
  });
  const socket = connect({ host: '127.0.0.1', port, ...client, rejectUnauthorized: false });
  socket.on('error', () => undefined);
  try {
    return await name;
  } finally {
    socket.destroy();
    listener.close();
  }
}
