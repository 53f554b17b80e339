import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
} from 'node:crypto';

/**
 * Seals what only one host may read: an ephemeral X25519 key agreement, HKDF-SHA-256, AES-256-GCM (the pattern of ECIES, SEC 1
 * section 5.1, with the primitives of RFC 7748, 5869 and 5116). The host's public key stands in its host record.
 *
 * What it protects: whoever reads the registry, its backups or its disks, and every other host's agent, learns lengths and
 * keyed hashes, but no content. What it does not: the host itself (root there reads the files, and for variables `docker
 * inspect` does too), whoever may read Secrets from the API server, and whoever can *write* host records in the registry: he
 * can put his own key in the place of a host's. Agents hold certificates that let them write there, so a host
 * that is taken over by an enemy who also forges records can get at what is placed on others afterwards. Nor does it
 * protect what the API server itself keeps: the embedded one keeps Secrets in the same etcd, in plain text; a Kubernetes
 * API server as its own encryption configuration says.
 */

/** A sealed text could not be opened: it was meant for another key or another place, or was tampered with. */
export class SealError extends Error {
  override readonly name = 'SealError';
  readonly retryable = false;
}

/** A host's key pair. */
export interface HostKey {
  /** DER (SPKI), base64; what the host record carries. */
  readonly publicKey: string;
  /** DER (PKCS #8), base64; never leaves the host. */
  readonly privateKey: string;
}

export function generateHostKey(): HostKey {
  const { publicKey, privateKey } = generateKeyPairSync('x25519');
  return {
    publicKey: publicKey.export({ type: 'spki', format: 'der' }).toString('base64'),
    privateKey: privateKey.export({ type: 'pkcs8', format: 'der' }).toString('base64'),
  };
}

/** A short name of a public key. */
export function keyFingerprint(publicKey: string): string {
  return createHash('sha256').update(publicKey).digest('hex').slice(0, 16);
}

const version = 'v1';
const nonceBytes = 12;
const tagBytes = 16;

/**
 * @param publicKey of the host, from its record.
 * @param context where the text belongs (the record's path): it can be opened with the same one only.
 * @throws {SealError} when the key is not one
 */
export function seal(publicKey: string, context: string, text: string): string {
  const recipient = readPublicKey(publicKey);
  const ephemeral = generateKeyPairSync('x25519');
  const sender = ephemeral.publicKey.export({ type: 'spki', format: 'der' });
  const { key, nonce } = derive(ephemeral.privateKey, recipient, sender, publicKey);
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(context));
  const body = Buffer.concat([cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]);
  return [version, sender.toString('base64'), body.toString('base64')].join('.');
}

/** @throws {SealError} */
export function open(host: HostKey, context: string, sealed: string): string {
  const [format, sender = '', body = ''] = sealed.split('.');
  if (format !== version)
    throw new SealError(`sealed in a way that is not known here: ${String(format)}`);
  try {
    const from = Buffer.from(sender, 'base64');
    const privateKey = createPrivateKey({
      key: Buffer.from(host.privateKey, 'base64'),
      type: 'pkcs8',
      format: 'der',
    });
    const { key, nonce } = derive(privateKey, readPublicKey(sender), from, host.publicKey);
    const bytes = Buffer.from(body, 'base64');
    const decipher = createDecipheriv('aes-256-gcm', key, nonce)
      .setAAD(Buffer.from(context))
      .setAuthTag(bytes.subarray(-tagBytes));
    return Buffer.concat([
      decipher.update(bytes.subarray(0, -tagBytes)),
      decipher.final(),
    ]).toString('utf8');
  } catch (error) {
    if (error instanceof SealError) throw error;
    throw new SealError('cannot be opened with the key of this host');
  }
}

/** The ephemeral key is used once, so a nonce that is derived with the key is as good as a random one. */
function derive(
  mine: KeyObject,
  theirs: KeyObject,
  sender: Buffer,
  recipient: string,
): { key: Buffer; nonce: Buffer } {
  const shared = diffieHellman({ privateKey: mine, publicKey: theirs });
  const salt = Buffer.concat([sender, Buffer.from(recipient, 'base64')]);
  const bytes = Buffer.from(hkdfSync('sha256', shared, salt, 'nap delivery v1', 32 + nonceBytes));
  return { key: bytes.subarray(0, 32), nonce: bytes.subarray(32) };
}

function readPublicKey(text: string): KeyObject {
  try {
    const key = createPublicKey({ key: Buffer.from(text, 'base64'), type: 'spki', format: 'der' });
    if (key.asymmetricKeyType === 'x25519') return key;
  } catch {
    // Told below.
  }
  throw new SealError('not a public key for sealing');
}
