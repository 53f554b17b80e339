import { globMatches } from '../../scheduler/glob.ts';
import { fieldPath, type FieldError } from './field-error.ts';
import { placeholderHelp, placeholderTexts, strayPercent } from './placeholders.ts';
import type { ServiceSpec } from './service-spec.ts';

type At = (...segments: PropertyKey[]) => string;

/** What is wrong with percent signs in a spec. */
export function validatePlaceholders(spec: ServiceSpec, at: At, errors: FieldError[]): void {
  for (const { path, text } of placeholderTexts(spec)) {
    const stray = strayPercent(text);
    if (stray !== undefined) {
      errors.push({
        path: at(...path),
        value: text,
        message: `${JSON.stringify(stray)} is no placeholder; ${placeholderHelp}`,
        severity: 'error',
      });
    } else if (path[0] === 'ports' && !onlyOrdinalOfHostPort(text)) {
      errors.push({
        path: at(...path),
        value: text,
        message:
          'the only placeholder of a port is %i, the number of the instance, in the port of the host: "80%i:80"',
        severity: 'error',
      });
    } else if (path[0] === 'ports' && spec.placement?.global === true && text.includes('%')) {
      errors.push({
        path: at(...path),
        value: text,
        message: 'instances of a global service never share a host: give a fixed port',
        severity: 'error',
      });
    }
  }
}

function onlyOrdinalOfHostPort(text: string): boolean {
  const [container = '', ...host] = text.split(':').toReversed();
  return !/%[^i]/.test(text) && !container.includes('%') && !(host[1] ?? '').includes('%');
}

/** What is wrong with the placement of one service, as far as it can be told from it alone. */
export function validatePlacement(
  spec: ServiceSpec,
  at: At,
  errors: FieldError[],
  siblings: readonly string[] | undefined,
): void {
  const { placement } = spec;
  if (placement === undefined) return;
  const fail = (field: string, value: unknown, message: string): void => {
    errors.push({ path: at('placement', field), value, message, severity: 'error' });
  };
  if (placement.global === true) {
    if (spec.replicas !== 1) {
      errors.push({
        path: at('replicas'),
        value: spec.replicas,
        message: 'a global service has one instance on every matching host: leave replicas out',
        severity: 'error',
      });
    }
    for (const field of ['machineOf', 'maxPerHost', 'preferences'] as const) {
      if (placement[field] === undefined) continue;
      fail(
        field,
        placement[field],
        'has no meaning for a global service, which has one instance on every matching host: leave it out',
      );
    }
  }
  if (
    placement.machineOf !== undefined &&
    siblings !== undefined &&
    !siblings.includes(placement.machineOf)
  ) {
    fail(
      'machineOf',
      placement.machineOf,
      `there is no service ${JSON.stringify(placement.machineOf)} in this project`,
    );
  }
  for (const [index, preference] of (placement.preferences ?? []).entries()) {
    if ((preference.machineMetadata === undefined) === (preference.spread === undefined)) {
      errors.push({
        path: at('placement', 'preferences', index),
        value: preference,
        message: 'a preference says either machineMetadata or spread',
        severity: 'error',
      });
    }
  }
}

/** Rules of a project's services that no host can keep together. */
export function validatePlacementsTogether(
  project: string,
  services: readonly (readonly [string, ServiceSpec])[],
): FieldError[] {
  const errors: FieldError[] = [];
  const byName = new Map(services);
  const conflict = (from: string, to: string): string | undefined =>
    (byName.get(from)?.placement?.conflicts ?? []).find((pattern) =>
      globMatches(pattern.includes('/') ? pattern : `${project}/${pattern}`, `${project}/${to}`),
    );
  for (const [name, spec] of services) {
    const target = spec.placement?.machineOf;
    if (target === undefined || !byName.has(target)) continue;
    const fail = (message: string): void => {
      errors.push({
        path: fieldPath('spec', 'services', name, 'placement', 'machineOf'),
        value: target,
        message,
        severity: 'error',
      });
    };
    if (target === name) {
      fail('a service is always where it is itself: name another one');
      continue;
    }
    const mine = conflict(name, target);
    const theirs = conflict(target, name);
    if (mine !== undefined) {
      fail(
        `its own placement.conflicts ${JSON.stringify(mine)} forbids that host: remove one of the two`,
      );
    } else if (theirs !== undefined) {
      fail(
        `placement.conflicts ${JSON.stringify(theirs)} of ${target} forbids that host: remove one of the two`,
      );
    }
    const ring = ringFrom(name, byName);
    // Said once for a ring: at the first of its services by name.
    if (ring !== undefined && ring.toSorted()[0] === name) {
      fail(`each waits for the other: ${[...ring, name].join(' → ')}`);
    }
  }
  return errors;
}

/** The services that lead from one back to itself by machineOf. */
function ringFrom(
  start: string,
  byName: ReadonlyMap<string, ServiceSpec>,
): readonly string[] | undefined {
  const ring: string[] = [];
  let at: string | undefined = start;
  while (at !== undefined && !ring.includes(at)) {
    ring.push(at);
    at = byName.get(at)?.placement?.machineOf;
  }
  return at === start && ring.length > 1 ? ring : undefined;
}
