import 'reflect-metadata';
import { createECDH, createPrivateKey, createPublicKey, hkdfSync, webcrypto } from 'node:crypto';
import {
  cryptoProvider,
  Pkcs10CertificateRequestGenerator,
  SubjectAlternativeNameExtension,
} from '@peculiar/x509';

/** Order of the group P-256 (SEC 2, 2.4.2). */
const groupOrder = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

/**
 * The private key of the certificate of an order, PEM. Each order has one of its own, made from the seed and nothing else that
 * is secret: the operator that takes over after the authority has issued the certificate has the key to it, too, though nothing
 * was written down that must not be read. FIPS 186-5, A.2.1, with HKDF (RFC 5869) as the source of bits.
 *
 * @param seed 32 random bytes, kept with the account's key
 */
export function certificateKey(seed: Uint8Array, order: string): string {
  // 64 bits more than the group has: what is left over tells nothing.
  const bits = hkdfSync('sha256', seed, new Uint8Array(), `nap certificate ${order}`, 40);
  const scalar = (BigInt(`0x${Buffer.from(bits).toString('hex')}`) % (groupOrder - 1n)) + 1n;
  const d = Buffer.from(scalar.toString(16).padStart(64, '0'), 'hex');
  const curve = createECDH('prime256v1');
  curve.setPrivateKey(d);
  const point = curve.getPublicKey();
  const key = createPrivateKey({
    format: 'jwk',
    key: {
      ...{ kty: 'EC', crv: 'P-256', d: d.toString('base64url') },
      x: point.subarray(1, 33).toString('base64url'),
      y: point.subarray(33).toString('base64url'),
    },
  });
  return key.export({ format: 'pem', type: 'pkcs8' }).toString();
}

/** What the authority is to sign: PKCS #10, DER. @param key PEM */
export async function certificateRequest(host: string, key: string): Promise<Uint8Array> {
  cryptoProvider.set(webcrypto);
  const privateKey = createPrivateKey(key);
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
  const pkcs8 = privateKey.export({ format: 'der', type: 'pkcs8' });
  const spki = createPublicKey(key).export({ format: 'der', type: 'spki' });
  const { subtle } = webcrypto;
  const request = await Pkcs10CertificateRequestGenerator.create({
    keys: {
      privateKey: await subtle.importKey('pkcs8', pkcs8, algorithm, false, ['sign']),
      publicKey: await subtle.importKey('spki', spki, algorithm, true, ['verify']),
    },
    signingAlgorithm: algorithm,
    extensions: [new SubjectAlternativeNameExtension([{ type: 'dns', value: host }])],
  });
  return new Uint8Array(request.rawData);
}
