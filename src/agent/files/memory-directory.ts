import { chmod, mkdir, statfs } from 'node:fs/promises';
import type { Exec } from '../host/exec.ts';

/** `f_type` of tmpfs (linux/magic.h, TMPFS_MAGIC). */
const tmpfsMagic = 0x01021994;

/**
 * Makes sure that `path` is a directory in memory that only root may enter: a tmpfs is mounted there unless it lies on one
 * already (as /run does under systemd, where a mount made by an agent in a mount namespace of its own would not be seen by
 * the engine).
 */
export async function ensureMemoryDirectory(
  path: string,
  exec: Exec,
  signal?: AbortSignal,
): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  if ((await statfs(path)).type !== tmpfsMagic) {
    const options = 'mode=0700,nosuid,nodev,noexec';
    await exec('mount', ['-t', 'tmpfs', '-o', options, 'nap-files', path], {}, signal);
  }
  await chmod(path, 0o700);
}
