import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { generateHostKey, type HostKey } from '../../registry/seal.ts';

/**
 * The key for which contents are sealed for this host: kept in a file that only root may read, so that a host that boots can
 * open what was delivered before without waiting for an operator. Made at the first start; deleting it costs
 * nothing but a new delivery.
 */
export async function loadHostKey(path: string): Promise<HostKey> {
  try {
    const key = JSON.parse(await readFile(path, 'utf8')) as Partial<HostKey>;
    const { publicKey, privateKey } = key;
    if (typeof publicKey === 'string' && typeof privateKey === 'string') {
      return { publicKey, privateKey };
    }
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    if (!missing && !(error instanceof SyntaxError)) throw error;
  }
  const key = generateHostKey();
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeFile(`${path}.new`, JSON.stringify(key), { mode: 0o600 });
  await rename(`${path}.new`, path);
  return key;
}
