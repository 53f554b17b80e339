import { z } from 'zod';
import { fieldPath, type FieldError } from './field-error.ts';
import { restartPolicyOf } from './restart-policy.ts';

/** Most bonds of one kind of one service. */
const maxBonds = 32;

export const dependency = z.object({
  condition: z
    .enum(['started', 'healthy', 'completed'])
    .default('started')
    .meta({
      description:
        'started: all its instances run; healthy: all are ready (their health checks pass); completed: all have ended with ' +
        'success.',
    }),
  restart: z.boolean().default(false).meta({
    description:
      'Starts this service anew when its first instance was replaced: by an update, or after its host was lost.',
  }),
});

const serviceNames = (description: string) =>
  z
    .array(z.string().max(63))
    .max(maxBonds)
    .meta({ description, 'x-kubernetes-list-type': 'atomic' })
    .optional();

/** Fields of a service's spec that bind it to other services of its project. */
export const bonds = {
  dependsOn: z
    .record(z.string(), dependency)
    .meta({
      description:
        'Services of the project that come first, on whatever hosts they are: {db: {condition: healthy}, migrate: {condition: ' +
        'completed}}. Instances are only made, and updates only go on, while that holds (and the other service is not being ' +
        'updated itself). What runs already stays.',
      maxProperties: maxBonds,
    })
    .optional(),
  requires: serviceNames(
    'Services without which this one does not run: [db]. It stops while one of them is scaled to 0, is not started while all ' +
      'instances of one have failed, and starts anew when its first instance was replaced.',
  ),
  wants: serviceNames(
    'Services that come first if they can, and are missed by nobody: [cache]. New instances are made, and updates go on, once all ' +
      'instances of each run or have failed, or it cannot start (no host has room, it waits or is stopped itself). What becomes ' +
      'of them later changes nothing here.',
  ),
  bindsTo: serviceNames(
    'As requires, and stops as soon as no instance of the other service is left that runs or starts: [gpu-driver].',
  ),
  partOf: serviceNames(
    'Stops and starts anew with these services, and needs nothing else of them: [web].',
  ),
  conflictsWith: serviceNames(
    'Services that are stopped while this one is not scaled to 0; it starts when they are gone: a service "maintenance" with ' +
      'conflictsWith: [web] takes the place of web when it is scaled from 0 to 1.',
  ),
};
/** The bonds of a service, with defaults. */
export type Bonds = z.output<z.ZodObject<typeof bonds>>;
type BondsInput = z.input<z.ZodObject<typeof bonds>>;

const listed = ['requires', 'wants', 'bindsTo', 'partOf', 'conflictsWith'] as const;

/** All that is wrong with the bonds between a project's services: unknown names, contradictions, and circles. */
export function validateBonds(
  services: readonly (readonly [
    string,
    BondsInput & {
      readonly type?: string | undefined;
      readonly restart?: string | undefined;
      readonly replicas?: number;
      readonly start?: boolean | undefined;
    },
  ])[],
): FieldError[] {
  const errors: FieldError[] = [];
  const specs = new Map(services);
  const names = services.map(([name]) => name).join(', ');
  for (const [service, spec] of services) {
    const at = (...rest: PropertyKey[]): string => fieldPath('spec', 'services', service, ...rest);
    const fail = (path: string, value: unknown, message: string): void => {
      errors.push({ path, value, message, severity: 'error' });
    };
    const check = (path: string, other: string): void => {
      if (other === service) fail(path, other, 'is the service itself: name another one');
      else if (!specs.has(other)) {
        fail(path, other, `there is no service "${other}" in this project: it has ${names}`);
      }
    };
    for (const other of Object.keys(spec.dependsOn ?? {})) {
      const index = spec.wants?.indexOf(other) ?? -1;
      if (index < 0) continue;
      fail(
        at('wants', index),
        other,
        `dependsOn waits for "${other}" whatever happens, wants does not: drop one of the two`,
      );
    }
    for (const [other, { condition }] of Object.entries(spec.dependsOn ?? {})) {
      check(at('dependsOn', other), other);
      const target = specs.get(other);
      if (condition === 'completed' && target?.start === false) {
        fail(
          at('dependsOn', other, 'condition'),
          condition,
          `"${other}" is never started (start: false), so it is never completed: use condition: started`,
        );
        continue;
      }
      const endless = target !== undefined && restartPolicyOf(target) === 'always';
      if (condition === 'completed' && endless) {
        fail(
          at('dependsOn', other, 'condition'),
          condition,
          `"${other}" is started again whenever it ends (restart: always), so it is never completed: give it type: oneshot, or restart: "no" or on-failure`,
        );
      }
    }
    for (const field of listed) {
      for (const [index, other] of (spec[field] ?? []).entries()) {
        check(at(field, index), other);
        if (field !== 'conflictsWith') continue;
        const needed = [
          ...Object.keys(spec.dependsOn ?? {}),
          ...(spec.requires ?? []),
          ...(spec.wants ?? []),
          ...(spec.bindsTo ?? []),
        ];
        if (needed.includes(other)) {
          fail(
            at(field, index),
            other,
            `"${other}" is needed and excluded at once: drop one of the two`,
          );
        }
        if (specs.get(other)?.conflictsWith?.includes(service) === true) {
          fail(
            at(field, index),
            other,
            'each stops the other: let only the one that takes precedence say conflictsWith',
          );
        }
      }
    }
  }
  const circle = circleOf(new Map(services.map(([name, spec]) => [name, [...predecessors(spec)]])));
  if (circle !== undefined) {
    const [first = '', second = ''] = circle;
    errors.push({
      path: fieldPath('spec', 'services', first),
      value: second,
      message: `depends on itself in a circle, so none of them could ever start: ${circle.join(' → ')}`,
      severity: 'error',
    });
  }
  return errors;
}

/** Services that come before one. */
function predecessors({ dependsOn, requires, wants, bindsTo, partOf }: BondsInput): string[] {
  const named = [requires, wants, bindsTo, partOf].flatMap((names) => names ?? []);
  return [...Object.keys(dependsOn ?? {}), ...named];
}

/** A circle in the graph, its first node repeated at its end; undefined when there is none. */
export function circleOf(graph: ReadonlyMap<string, readonly string[]>): string[] | undefined {
  const done = new Set<string>();
  const path: string[] = [];
  const visit = (name: string): string[] | undefined => {
    const at = path.indexOf(name);
    if (at >= 0) return [...path.slice(at), name];
    if (done.has(name)) return undefined;
    path.push(name);
    for (const next of graph.get(name) ?? []) {
      const circle = next === name ? undefined : visit(next);
      if (circle !== undefined) return circle;
    }
    path.pop();
    done.add(name);
    return undefined;
  };
  for (const name of graph.keys()) {
    const circle = visit(name);
    if (circle !== undefined) return circle;
  }
  return undefined;
}

/** Names so that each comes behind those that it depends on; in a circle, in the order given. */
export function inOrder(services: readonly (readonly [string, BondsInput])[]): string[] {
  const specs = new Map(services);
  const order = new Set<string>();
  const visiting = new Set<string>();
  const visit = (name: string): void => {
    if (order.has(name) || visiting.has(name) || !specs.has(name)) return;
    visiting.add(name);
    for (const other of predecessors(specs.get(name) ?? {})) visit(other);
    order.add(name);
  };
  for (const [name] of services) visit(name);
  return [...order];
}
