import { readFileSync } from 'node:fs';
import {
  chmod,
  chown,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import type { ContentBundle } from '../../api/v1alpha1/content.ts';
import type { ConfigFile } from '../../api/v1alpha1/container-spec.ts';
import type { DeliveredFile } from '../docker/engine.ts';

/** Names the files of one container: placement and spec. Another spec never touches the files of a container that runs. */
export interface FilesOf {
  readonly placementId: string;
  readonly specHash: string;
}

/** Hash of the contents that are all in place and known to the container. Written last. */
const versionFile = 'version';
/** Indexes of files that were written and that the container has not been told of. */
const pendingFile = 'untold';
const environmentFile = 'environment';

/**
 * The config files of this host's containers, in a directory that lives in memory: one directory for each container spec,
 * with a file for each element of its `files`. They are mounted one by one, so a file is changed in place: renaming another one
 * over it would leave the container with the old one. Files outlive the agent and restarts of containers and of the
 * engine, but not a reboot: then the engine finds nothing to mount and does not start the container, and the agent does when it
 * has written them again.
 */
export class FileStore {
  readonly #directory: string;

  /** @param directory private to this host's agent, and in memory: see memory-directory.ts. */
  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Hash of the contents that the container has; undefined when they are not (all) there. */
  version(of: FilesOf): string | undefined {
    try {
      // Synchronous, since the planner asks; a few bytes from memory.
      return readFileSync(join(this.#home(of), versionFile), 'utf8');
    } catch {
      return undefined;
    }
  }

  /** What is to be mounted. */
  mounts(of: FilesOf, files: readonly ConfigFile[]): DeliveredFile[] {
    return files.map(({ target }, index) => ({
      source: join(this.#home(of), String(index)),
      target,
    }));
  }

  /** The variables that came with the files. */
  async environment(of: FilesOf): Promise<Record<string, string>> {
    const text = await readFile(join(this.#home(of), environmentFile), 'utf8');
    return JSON.parse(text) as Record<string, string>;
  }

  /**
   * Writes what differs. Returns the indexes of files of which a running container has to be told, also from earlier tries
   * that got no further. May be repeated.
   */
  async write(
    of: FilesOf,
    files: readonly ConfigFile[],
    bundle: ContentBundle,
  ): Promise<readonly number[]> {
    const home = this.#home(of);
    await mkdir(home, { recursive: true, mode: 0o700 });
    const changed = new Set(await this.#untold(of));
    for (const [index, bytes] of bundle.files.entries()) {
      const present = await readFile(join(home, String(index))).catch(() => undefined);
      if (present === undefined || Buffer.compare(present, bytes) !== 0) changed.add(index);
    }
    const untold = [...changed].sort((a, b) => a - b);
    await replaceFile(join(home, pendingFile), JSON.stringify(untold));
    for (const index of untold) {
      const [file, bytes] = [files[index], bundle.files[index]];
      if (file !== undefined && bytes !== undefined) {
        await writeInPlace(join(home, String(index)), bytes, file);
      }
    }
    await replaceFile(join(home, environmentFile), JSON.stringify(bundle.environment));
    return untold;
  }

  /** Says that the contents of this hash are in place, and that the container knows. */
  async commit(of: FilesOf, hash: string): Promise<void> {
    const home = this.#home(of);
    await replaceFile(join(home, versionFile), hash);
    await rm(join(home, pendingFile), { force: true });
  }

  /** Removes the files of all containers that `keep` does not name. */
  async sweep(keep: Iterable<FilesOf>): Promise<void> {
    const kept = new Set([...keep].map(nameOf));
    for (const name of await readdir(this.#directory).catch(() => [])) {
      if (!kept.has(name)) await rm(join(this.#directory, name), { recursive: true, force: true });
    }
  }

  async #untold(of: FilesOf): Promise<number[]> {
    try {
      return JSON.parse(await readFile(join(this.#home(of), pendingFile), 'utf8')) as number[];
    } catch {
      return [];
    }
  }

  #home(of: FilesOf): string {
    return join(this.#directory, nameOf(of));
  }
}

/** Ids and hashes come from the registry: nothing in them may lead out of the directory. */
export function nameOf({ placementId, specHash }: FilesOf): string {
  return `${placementId}-${specHash.slice(0, 16)}`.replaceAll(/[^a-zA-Z0-9-]/g, '_');
}

/** One write of all bytes, then the new length: who reads meanwhile sees the old text, the new one, or the new one with a tail. */
export async function writeInPlace(
  path: string,
  bytes: Uint8Array,
  file: Pick<ConfigFile, 'mode' | 'uid' | 'gid'>,
): Promise<void> {
  const handle = await open(path, 'a', 0o600).then(async (created) => {
    await created.close();
    return open(path, 'r+');
  });
  try {
    await handle.write(bytes, 0, bytes.length, 0);
    await handle.truncate(bytes.length);
  } finally {
    await handle.close();
  }
  await chown(path, file.uid, file.gid);
  await chmod(path, file.mode);
}

async function replaceFile(path: string, text: string): Promise<void> {
  await writeFile(`${path}.new`, text, { mode: 0o600 });
  await rename(`${path}.new`, path);
}
