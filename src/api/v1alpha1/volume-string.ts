import { InvalidValueError } from './invalid-value.ts';

/** A mount as the user wrote it. `source`: a path of the host (`bind`) or the name of a volume of the project. */
export interface VolumeMount {
  readonly type: 'volume' | 'bind';
  readonly source: string;
  /** Absolute path in the container, without a trailing slash. */
  readonly target: string;
  readonly readOnly: boolean;
  /** How mounts made below it on one side are seen on the other; absent: the engine's default (rprivate). */
  readonly propagation?: Propagation;
}

/** Kinds of bind propagation, as `mount --make-…` has them. */
export const propagations = [
  'private',
  'rprivate',
  'shared',
  'rshared',
  'slave',
  'rslave',
] as const;
export type Propagation = (typeof propagations)[number];

/** Shape of a volume string, for the CRD: absolute host path or volume name, absolute target, options. */
export const volumeStringPattern = '^(/[^:]*|[a-zA-Z0-9%][a-zA-Z0-9_.%-]*):/[^:]+(:[a-z,]+)?$';

/** Names of volumes: what Docker takes as a part of a volume's name, and placeholders. */
const volumeName = /^(?=.{1,128}$)(?:[a-zA-Z0-9]|%[npiHm])(?:[a-zA-Z0-9_.-]|%[npiHm])*$/;

/**
 * Reads `NAME:/TARGET[:ro|rw]` (named volume) or `/HOST_PATH:/TARGET[:OPTIONS]` (bind), where options are ro or rw and a
 * propagation, e.g. `ro,rslave`.
 * Paths must be absolute and free of `..`: there is no directory on the host that a relative one could start from.
 * @throws {InvalidValueError}
 */
export function parseVolume(value: string): VolumeMount {
  const [source = '', target, mode, ...rest] = value.split(':');
  if (target === undefined) {
    throw new InvalidValueError(
      value,
      source.startsWith('/')
        ? `a volume needs a name, so that it can be found again: "data:${source}"`
        : `needs a path in the container behind the source: "${source === '' ? 'data' : source}:/var/lib/data"`,
    );
  }
  if (rest.length > 0) {
    throw new InvalidValueError(value, 'too many colons: use SOURCE:/TARGET or SOURCE:/TARGET:ro');
  }
  const { readOnly, propagation } = readOptions(value, mode);
  const path = checkPath(value, target, 'the path in the container');
  if (path === '/') throw new InvalidValueError(value, 'cannot be mounted over / itself');
  if (/^[./~\\]/.test(source)) {
    return {
      type: 'bind',
      source: checkPath(value, source, 'the path on the host'),
      target: path,
      readOnly,
      ...(propagation === undefined ? {} : { propagation }),
    };
  }
  if (propagation !== undefined) {
    throw new InvalidValueError(
      value,
      `${propagation} is for paths of the host only: a named volume has no mounts below it`,
    );
  }
  if (!volumeName.test(source)) {
    throw new InvalidValueError(
      value,
      `${JSON.stringify(source)} is not a name for a volume: use up to 128 letters, digits, "_", "." and "-", ` +
        'beginning with a letter or digit, or an absolute path of the host',
    );
  }
  return { type: 'volume', source, target: path, readOnly };
}

function readOptions(
  value: string,
  options: string | undefined,
): { readOnly: boolean; propagation?: Propagation } {
  let readOnly: boolean | undefined;
  let propagation: Propagation | undefined;
  for (const option of options?.split(',') ?? []) {
    if ((option === 'ro' || option === 'rw') && readOnly === undefined) readOnly = option === 'ro';
    else if (isPropagation(option) && propagation === undefined) propagation = option;
    else {
      throw new InvalidValueError(
        value,
        `${JSON.stringify(option)} is not an option of a volume here: use ro or rw, and for a path of the host one of ` +
          propagations.join(', '),
      );
    }
  }
  return { readOnly: readOnly ?? false, ...(propagation === undefined ? {} : { propagation }) };
}

function isPropagation(text: string): text is Propagation {
  return (propagations as readonly string[]).includes(text);
}

function checkPath(value: string, path: string, what: string): string {
  if (!path.startsWith('/')) {
    throw new InvalidValueError(
      value,
      `${what} must be absolute, ${JSON.stringify(path)} is not: begin it with "/"`,
    );
  }
  if (path.includes('\0')) throw new InvalidValueError(value, `${what} holds a NUL byte`);
  const segments = path.split('/').filter((segment) => segment !== '' && segment !== '.');
  if (segments.includes('..')) throw new InvalidValueError(value, `${what} may not hold ".."`);
  return `/${segments.join('/')}`;
}
