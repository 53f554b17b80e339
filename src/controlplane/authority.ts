import 'reflect-metadata';
import { X509Certificate as NodeCertificate, webcrypto } from 'node:crypto';
import { isIP } from 'node:net';
import {
  BasicConstraintsExtension,
  cryptoProvider,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  AuthorityKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509';

/** A certificate and its private key, PEM. */
export interface KeyPair {
  readonly cert: string;
  readonly key: string;
}

/** What a certificate is for. */
export interface CertificateRequest {
  /** Kubernetes and etcd take it as the user's name. */
  readonly commonName: string;
  /** Kubernetes takes them as the user's groups. */
  readonly organizations?: readonly string[];
  /** DNS names and IP addresses that a server is reached by; none for a mere client. */
  readonly hosts?: readonly string[];
}

const dayMs = 86_400_000;
const authorityDays = 3650;
const certificateDays = 365;
/** A certificate that ends sooner than this is made anew at the next start. */
const renewBeforeDays = 60;
/** Clocks of the hosts may differ by this much. */
const skewMs = 3_600_000;

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

cryptoProvider.set(webcrypto);

/** A new self-signed certificate authority, good for ten years. `now`: milliseconds since the epoch. */
export async function makeAuthority(commonName: string, now: number): Promise<KeyPair> {
  const keys = await newKeys();
  const cert = await X509CertificateGenerator.createSelfSigned({
    name: [{ CN: [commonName] }],
    notBefore: new Date(now - skewMs),
    notAfter: new Date(now + authorityDays * dayMs),
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { cert: cert.toString('pem') + '\n', key: await exportKey(keys.privateKey) };
}

/** A certificate for one year, for TLS as a client, and as a server too when it has hosts. */
export async function issue(
  authority: KeyPair,
  request: CertificateRequest,
  now: number,
): Promise<KeyPair> {
  const keys = await newKeys();
  const issuer = new X509Certificate(authority.cert);
  const hosts = request.hosts ?? [];
  const usages = [ExtendedKeyUsage.clientAuth];
  if (hosts.length > 0) usages.push(ExtendedKeyUsage.serverAuth);
  const cert = await X509CertificateGenerator.create({
    subject: [
      ...(request.organizations ?? []).map((organization) => ({ O: [organization] })),
      { CN: [request.commonName] },
    ],
    issuer: issuer.subject,
    notBefore: new Date(now - skewMs),
    notAfter: new Date(now + certificateDays * dayMs),
    signingAlgorithm: algorithm,
    publicKey: keys.publicKey,
    signingKey: await importKey(authority.key),
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension(usages),
      await AuthorityKeyIdentifierExtension.create(issuer),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
      ...(hosts.length > 0
        ? [
            new SubjectAlternativeNameExtension(
              hosts.map((value) => ({ type: isIP(value) === 0 ? 'dns' : 'ip', value })),
            ),
          ]
        : []),
    ],
  });
  return { cert: cert.toString('pem') + '\n', key: await exportKey(keys.privateKey) };
}

/** Whether `pair` still serves `request` under `authority`: issued by it, for the same names, and not about to end. */
export function stillGood(
  pair: KeyPair,
  authority: KeyPair,
  request: CertificateRequest,
  now: number,
): boolean {
  try {
    const cert = new NodeCertificate(pair.cert);
    const issuer = new NodeCertificate(authority.cert);
    const names = new Set(
      (cert.subjectAltName ?? '')
        .split(', ')
        .filter((name) => name !== '')
        .map((name) => name.replace(/^(DNS|IP Address):/, '')),
    );
    return (
      cert.checkIssued(issuer) &&
      cert.verify(issuer.publicKey) &&
      new Date(cert.validTo).getTime() - now > renewBeforeDays * dayMs &&
      names.size === new Set(request.hosts ?? []).size &&
      (request.hosts ?? []).every((host) => names.has(host)) &&
      cert.subject.split('\n').includes(`CN=${request.commonName}`)
    );
  } catch {
    return false;
  }
}

function newKeys(): Promise<CryptoKeyPair> {
  return webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
}

async function exportKey(key: CryptoKey): Promise<string> {
  return PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY') + '\n';
}

function importKey(pem: string): Promise<CryptoKey> {
  return webcrypto.subtle.importKey('pkcs8', PemConverter.decodeFirst(pem), algorithm, false, [
    'sign',
  ]);
}
