import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
} from 'node:crypto';
import { chmod, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isTunnelKey } from '../../../network/overlay/tunnel-key.ts';

/** This host's key pair for WireGuard. The private key is known to its file alone. */
export interface TunnelKey {
  readonly publicKey: string;
  /** The file of the private key, as `wg` reads it. */
  readonly path: string;
}

/** What precedes the 32 bytes of a private X25519 key in PKCS #8. RFC 8410, section 7. */
const pkcs8Head = Buffer.from('302e020100300506032b656e04220420', 'hex');

/**
 * The host's key, made at the first start and kept in a file that only root may read. Losing the file costs nothing but that
 * the other hosts must learn the next key; a file that holds no key counts as lost. Throws the errors of the file system.
 */
export async function loadTunnelKey(path: string): Promise<TunnelKey> {
  const kept = await readKept(path);
  if (kept !== undefined) {
    // Somebody may have copied it about.
    await chmod(path, 0o600);
    return { path, publicKey: publicPart(kept) };
  }
  const { privateKey } = generateKeyPairSync('x25519');
  const bytes = privateKey.export({ format: 'der', type: 'pkcs8' }).subarray(pkcs8Head.length);
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeFile(`${path}.new`, `${bytes.toString('base64')}\n`, { mode: 0o600 });
  await rename(`${path}.new`, path);
  return { path, publicKey: publicPart(privateKey) };
}

async function readKept(path: string): Promise<KeyObject | undefined> {
  let text: string;
  try {
    text = (await readFile(path, 'utf8')).trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  if (!isTunnelKey(text)) return undefined;
  const key = Buffer.concat([pkcs8Head, Buffer.from(text, 'base64')]);
  return createPrivateKey({ key, format: 'der', type: 'pkcs8' });
}

function publicPart(privateKey: KeyObject): string {
  const der = createPublicKey(privateKey).export({ format: 'der', type: 'spki' });
  return der.subarray(-32).toString('base64');
}
