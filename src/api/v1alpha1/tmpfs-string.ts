import { parseByteSize } from './byte-size.ts';
import { InvalidValueError } from './invalid-value.ts';

/** A file system in memory. `options` are the kernel's, in a fixed order; empty for the engine's defaults. */
export interface Tmpfs {
  readonly target: string;
  readonly options: string;
}

/** Shape of a tmpfs string, for the CRD. */
export const tmpfsStringPattern = '^/[^:]+(:[a-z0-9=.,A-Z]+)?$';

/**
 * Reads `/TARGET[:OPTION,…]` as compose does: `/run:size=64M,mode=1777`. Options are size, mode (octal), uid, gid, and the
 * words noexec, exec, nosuid, nodev, ro.
 * @throws {InvalidValueError}
 */
export function parseTmpfs(value: string): Tmpfs {
  const [target = '', list, ...rest] = value.split(':');
  if (rest.length > 0 || !target.startsWith('/') || target === '/' || target.includes('\0')) {
    throw new InvalidValueError(
      value,
      'a tmpfs is an absolute path with options behind a colon: "/run:size=64M,mode=1777"',
    );
  }
  const segments = target.split('/').filter((segment) => segment !== '' && segment !== '.');
  if (segments.includes('..') || segments.length === 0) {
    throw new InvalidValueError(value, 'the path of a tmpfs may not hold ".." or be "/" itself');
  }
  const options = (list === undefined || list === '' ? [] : list.split(',')).map((option) =>
    readOption(value, option),
  );
  return { target: `/${segments.join('/')}`, options: options.toSorted().join(',') };
}

const words = new Set(['noexec', 'exec', 'nosuid', 'nodev', 'ro']);

function readOption(value: string, option: string): string {
  const [name = '', amount, ...rest] = option.split('=');
  if (rest.length === 0) {
    if (amount === undefined && words.has(name)) return name;
    if (name === 'size' && amount !== undefined) return `size=${String(parseByteSize(amount))}`;
    if (name === 'mode' && amount !== undefined && /^[0-7]{3,4}$/.test(amount)) return option;
    if ((name === 'uid' || name === 'gid') && amount !== undefined && /^\d{1,10}$/.test(amount)) {
      return option;
    }
  }
  throw new InvalidValueError(
    value,
    `${JSON.stringify(option)} is not an option of a tmpfs: use size=64M, mode=1777 (octal), uid=1000, gid=1000, ` +
      'noexec, exec, nosuid, nodev or ro',
  );
}
