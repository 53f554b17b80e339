import { InvalidValueError } from './invalid-value.ts';
import { isDnsLabel } from './names.ts';

/** Another service of the project, and the name under which this one reaches it. */
export interface Link {
  readonly service: string;
  /** The service's own name when the link gives none. */
  readonly alias: string;
}

/** Shape of a link string, for the CRD. */
export const linkStringPattern = '^[a-z0-9]([-a-z0-9]*[a-z0-9])?(:[a-z0-9]([-a-z0-9]*[a-z0-9])?)?$';

/**
 * Reads `SERVICE[:ALIAS]`. Both are DNS labels, since both become names in DNS.
 * @throws {InvalidValueError}
 */
export function parseLink(value: string): Link {
  const [service = '', alias = service, ...rest] = value.split(':');
  if (rest.length > 0) {
    throw new InvalidValueError(value, 'too many colons: use SERVICE or SERVICE:ALIAS');
  }
  for (const [what, name] of [
    ['service', service],
    ['alias', alias],
  ] as const) {
    if (!isDnsLabel(name)) {
      throw new InvalidValueError(
        value,
        `the ${what} ${JSON.stringify(name)} is not a DNS label: use lower-case letters, digits and "-", ` +
          'at most 63, e.g. "redis-master:db"',
      );
    }
  }
  return { service, alias };
}
