import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { mkdir, open, rename, unlink, type FileHandle } from 'node:fs/promises';
import { maxRenderedBytes } from '../../api/v1alpha1/template-text.ts';

/**
 * Files in directories that containers write, too. The agent is root and on the host: a link that a container has put there
 * must not lead it anywhere. So no path is handed to the kernel in whole: each directory is opened below the one
 * before it, by its name alone and never through a link (`/proc/self/fd/N/name` with O_NOFOLLOW is openat(N, name)),
 * a file is made anew under a name that nobody knows, and rename, which follows no link either, puts it in its place. Whatever
 * is moved meanwhile, all of it happens in directories of the volume. (The engine's archive API resolves paths within the
 * container, too, but empties a file before it fills it, and cannot rename.)
 */

export interface FileOwner {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** The place cannot be written: something else than directories and a file stands there. */
export class UnsafePathError extends Error {
  override readonly name = 'UnsafePathError';
}

const directoryFlags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/** What stands in the file; undefined when there is none, or something that is no plain file or too long. */
export async function readBelow(root: string, path: string): Promise<Buffer | undefined> {
  try {
    return await withParent(root, path, false, async (parent, name) => {
      // A pipe must not hold the agent up.
      const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
      const file = await open(below(parent, name), flags);
      try {
        const { size } = await file.stat().then((stat) => (stat.isFile() ? stat : { size: -1 }));
        if (size < 0 || size > maxRenderedBytes) return undefined;
        const buffer = Buffer.alloc(size + 1);
        const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
        return bytesRead > size ? undefined : buffer.subarray(0, bytesRead);
      } finally {
        await file.close();
      }
    });
  } catch {
    // Absent, a link, or in the midst of being changed: what is wanted is written anew.
    return undefined;
  }
}

/** Puts a file with this content in place, at once, and what it stands in. @throws {UnsafePathError} */
export async function replaceBelow(
  root: string,
  path: string,
  bytes: Uint8Array,
  owner: FileOwner,
): Promise<void> {
  try {
    await withParent(root, path, true, async (parent, name) => {
      const fresh = below(parent, `.nap-${randomBytes(8).toString('hex')}`);
      const file = await open(
        fresh,
        constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
        0o600,
      );
      try {
        try {
          await file.writeFile(bytes);
          await file.chown(owner.uid, owner.gid);
          await file.chmod(owner.mode);
          await file.sync();
        } finally {
          await file.close();
        }
        await rename(fresh, below(parent, name));
      } catch (error) {
        await unlink(fresh).catch(() => undefined);
        throw error;
      }
    });
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    const words: Readonly<Record<string, string>> = {
      ELOOP: 'a link stands in its way',
      ENOTDIR: 'something that is no directory stands in its way',
      EISDIR: 'a directory stands in its place',
    };
    if (words[code] === undefined) throw error;
    throw new UnsafePathError(`${path} is not written: ${words[code]}`);
  }
}

/** Removes a file that is empty. Does nothing when it is not there. */
export async function removeEmptyBelow(root: string, path: string): Promise<void> {
  if ((await readBelow(root, path))?.length !== 0) return;
  await withParent(root, path, false, (parent, name) => unlink(below(parent, name))).catch(
    () => undefined,
  );
}

async function withParent<Result>(
  root: string,
  path: string,
  make: boolean,
  action: (parent: FileHandle, name: string) => Promise<Result>,
): Promise<Result> {
  const names = path.split('/').filter((name) => name !== '' && name !== '.');
  const last = names.pop();
  if (last === undefined || last === '..' || names.includes('..')) {
    throw new UnsafePathError(`${path} is no path of a file`);
  }
  // The root is the engine's own: containers cannot change what leads to it.
  let directory = await open(root, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    for (const name of names) {
      const next = await openDirectory(directory, name, make);
      await directory.close();
      directory = next;
    }
    return await action(directory, last);
  } finally {
    await directory.close();
  }
}

async function openDirectory(parent: FileHandle, name: string, make: boolean): Promise<FileHandle> {
  try {
    return await open(below(parent, name), directoryFlags);
  } catch (error) {
    if (!make || (error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    await mkdir(below(parent, name), { mode: 0o755 }).catch((problem: unknown) => {
      if ((problem as NodeJS.ErrnoException).code !== 'EEXIST') throw problem;
    });
    return open(below(parent, name), directoryFlags);
  }
}

function below(parent: FileHandle, name: string): string {
  return `/proc/self/fd/${String(parent.fd)}/${name}`;
}
