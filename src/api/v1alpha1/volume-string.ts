import { InvalidValueError } from './invalid-value.ts';

/** A mount as the user wrote it. `source`: a path of the host (`bind`) or the name of a volume of the project. */
export interface VolumeMount {
  readonly type: 'volume' | 'bind';
  readonly source: string;
  /** Absolute path in the container, without a trailing slash. */
  readonly target: string;
  readonly readOnly: boolean;
}

/** Shape of a volume string, for the CRD: absolute host path or volume name, absolute target, `ro` or `rw`. */
export const volumeStringPattern = '^(/[^:]*|[a-zA-Z0-9][a-zA-Z0-9_.-]*):/[^:]+(:(ro|rw))?$';

/** Names of volumes: what Docker takes as a part of a volume's name. */
const volumeName = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$/;

/**
 * Reads `NAME:/TARGET[:ro|rw]` (named volume) or `/HOST_PATH:/TARGET[:ro|rw]` (bind).
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
  if (mode !== undefined && mode !== 'ro' && mode !== 'rw') {
    throw new InvalidValueError(
      value,
      `${JSON.stringify(mode)} is not an option of a volume: use ro or rw`,
    );
  }
  const readOnly = mode === 'ro';
  const path = checkPath(value, target, 'the path in the container');
  if (path === '/') throw new InvalidValueError(value, 'cannot be mounted over / itself');
  if (/^[./~\\]/.test(source)) {
    return {
      type: 'bind',
      source: checkPath(value, source, 'the path on the host'),
      target: path,
      readOnly,
    };
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
