import { InvalidValueError } from './invalid-value.ts';
import { isDnsLabel, standaloneProject } from './names.ts';

/** Another service, and the name under which this one reaches it. */
export interface Link {
  readonly service: string;
  /** The service's own name when the link gives none. */
  readonly alias: string;
  /** Absent: the linking service's own. `_`: a Service that no Project owns. */
  readonly project?: string;
}

const label = '[a-z0-9]([-a-z0-9]*[a-z0-9])?';

/** Shape of a link string, for the CRD. */
export const linkStringPattern = `^((_|${label})/)?${label}(:${label})?$`;

/**
 * Reads `[PROJECT/]SERVICE[:ALIAS]`. All are DNS labels, since they become names in DNS; the project is of the same namespace.
 * @throws {InvalidValueError}
 */
export function parseLink(value: string): Link {
  const slash = value.indexOf('/');
  const project = slash < 0 ? undefined : value.slice(0, slash);
  const [service = '', alias = service, ...rest] = value.slice(slash + 1).split(':');
  if (rest.length > 0) {
    throw new InvalidValueError(
      value,
      'too many colons: use SERVICE, SERVICE:ALIAS or PROJECT/SERVICE:ALIAS',
    );
  }
  for (const [what, name] of [
    ['project', project === standaloneProject ? 'standalone' : (project ?? 'own')],
    ['service', service],
    ['alias', alias],
  ] as const) {
    if (!isDnsLabel(name)) {
      throw new InvalidValueError(
        value,
        `the ${what} ${JSON.stringify(name)} is not a DNS label: use lower-case letters, digits and "-", ` +
          'at most 63, e.g. "redis-master:db" or "shop/redis-master:db"',
      );
    }
  }
  return { service, alias, ...(project === undefined ? {} : { project }) };
}
