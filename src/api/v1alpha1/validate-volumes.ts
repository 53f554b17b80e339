import { attempt } from './attempt.ts';
import { cleanPath } from './clean-path.ts';
import type { FieldError } from './field-error.ts';
import { InvalidValueError } from './invalid-value.ts';
import type { ProjectSpec } from './project.ts';
import type { ServiceSpec } from './service-spec.ts';
import { isSignal } from './signals.ts';
import { parseTmpfs } from './tmpfs-string.ts';
import type { VolumeDefinition } from './volume-definition.ts';
import { validateProjectTemplates, validateTemplates } from './validate-templates.ts';
import { parseVolume } from './volume-string.ts';

type At = (...segments: PropertyKey[]) => string;

/** Everything of a service that is mounted: volumes, tmpfs and configs. Each place in the container is taken once. */
export function validateMounts(
  spec: ServiceSpec,
  at: At,
  errors: FieldError[],
  siblings: readonly string[] | undefined,
): void {
  const targets = new Map<string, string>();
  const take = (target: string, path: string, value: string): void => {
    const taken = targets.get(target);
    if (taken !== undefined) {
      errors.push({
        path,
        value,
        message: `${target} is taken by ${JSON.stringify(taken)}: mount each path once`,
        severity: 'error',
      });
    }
    targets.set(target, value);
  };
  for (const [index, value] of (spec.volumes ?? []).entries()) {
    const path = at('volumes', index);
    const mount = attempt(errors, path, value, () => parseVolume(value));
    if (mount !== undefined) take(mount.target, path, value);
  }
  for (const [index, value] of (spec.tmpfs ?? []).entries()) {
    const path = at('tmpfs', index);
    const mount = attempt(errors, path, value, () => parseTmpfs(value));
    if (mount !== undefined) take(mount.target, path, value);
  }
  validateConfigs(spec, at, errors, take, siblings !== undefined);
  validateTemplates(spec, at, errors, take, siblings);
  validateVolumesFrom(spec, at, errors, siblings);
  const mounted = new Set((spec.volumes ?? []).map(volumeName));
  for (const [name, definition] of Object.entries(spec.volumeDefinitions ?? {})) {
    const path = at('volumeDefinitions', name);
    if (siblings !== undefined) {
      errors.push({
        path,
        value: name,
        message: 'in a Project, volumes are defined under spec.volumes: move it there',
        severity: 'error',
      });
    }
    validateDefinition(name, definition, path, errors);
    if (!mounted.has(name)) warnUnused(name, path, errors);
  }
}

/** spec.volumes and spec.configs of a Project, and what its services take from them. */
export function validateProjectParts(spec: ProjectSpec, at: At): FieldError[] {
  const errors: FieldError[] = [];
  validateProjectTemplates(spec, at, errors);
  const mounted = new Set(
    Object.values(spec.services).flatMap((service) => (service.volumes ?? []).map(volumeName)),
  );
  for (const [name, definition] of Object.entries(spec.volumes ?? {})) {
    const path = at('volumes', name);
    validateDefinition(name, definition, path, errors);
    if (!mounted.has(name)) warnUnused(name, path, errors);
  }
  for (const [name, config] of Object.entries(spec.configs ?? {})) {
    const count = [config.content, config.configMap, config.secret].filter(isGiven).length;
    if (count !== 1) {
      errors.push({
        path: at('configs', name),
        value: name,
        message: 'a config has exactly one of content, configMap and secret',
        severity: 'error',
      });
    }
  }
  for (const [service, { configs, volumesFrom }] of Object.entries(spec.services)) {
    for (const [index, { source }] of (configs ?? []).entries()) {
      if (source === undefined || spec.configs?.[source] !== undefined) continue;
      errors.push({
        path: at('services', service, 'configs', index, 'source'),
        value: source,
        message: `there is no config ${JSON.stringify(source)} in this project: define it under spec.configs`,
        severity: 'error',
      });
    }
    const [from] = volumesFrom ?? [];
    const other = spec.services[from?.split(':')[0] ?? ''];
    if (from !== undefined && other?.volumesFrom !== undefined) {
      errors.push({
        path: at('services', service, 'volumesFrom', 0),
        value: from,
        message: `has its volumes from ${JSON.stringify(other.volumesFrom[0])} itself: name that service`,
        severity: 'error',
      });
    } else if (from !== undefined && other !== undefined && (other.volumes ?? []).length === 0) {
      errors.push({
        path: at('services', service, 'volumesFrom', 0),
        value: from,
        message: 'that service has no volumes: give it some under its volumes',
        severity: 'error',
      });
    } else if (
      from !== undefined &&
      other?.volumes?.some((volume) => volume.includes('%')) === true
    ) {
      errors.push({
        path: at('services', service, 'volumesFrom', 0),
        value: from,
        message:
          'each instance of that service has volumes of its own (%): only shared ones can be taken from it',
        severity: 'error',
      });
    }
  }
  return errors;
}

function validateVolumesFrom(
  spec: ServiceSpec,
  at: At,
  errors: FieldError[],
  siblings: readonly string[] | undefined,
): void {
  for (const [index, value] of (spec.volumesFrom ?? []).entries()) {
    const service = value.split(':')[0] ?? '';
    const path = at('volumesFrom', index);
    const fail = (message: string): void => {
      errors.push({ path, value, message, severity: 'error' });
    };
    if (!/^[a-z0-9]([-a-z0-9]*[a-z0-9])?(:(ro|rw))?$/.test(value)) {
      fail('name a service of the project, with :ro behind it to read only: "data:ro"');
    } else if (siblings === undefined) {
      fail('names services of the same Project: a Service that stands alone has none');
    } else if (!siblings.includes(service)) {
      fail(`there is no service ${JSON.stringify(service)} in this project`);
    }
    const machineOf = (spec.placement as { machineOf?: string } | undefined)?.machineOf;
    if (machineOf !== undefined && machineOf !== service) {
      fail(
        `brings instances to the host of ${service}, but placement.machineOf to that of ${machineOf}: leave machineOf out`,
      );
    }
  }
}

function validateConfigs(
  spec: ServiceSpec,
  at: At,
  errors: FieldError[],
  take: (target: string, path: string, value: string) => void,
  inProject: boolean,
): void {
  for (const [index, config] of (spec.configs ?? []).entries()) {
    const fail = (field: string, value: unknown, message: string): void => {
      errors.push({ path: at('configs', index, field), value, message, severity: 'error' });
    };
    const { source, content, configMap, secret, target, mode } = config;
    if ([source, content, configMap, secret].filter(isGiven).length !== 1) {
      fail(
        'source',
        source,
        "a config has exactly one of source (an entry of the Project's configs), content, configMap and secret",
      );
    }
    if (source !== undefined && !inProject) {
      fail('source', source, 'names a config of a Project: use content, configMap or secret here');
    }
    const path = cleanPath(target);
    if (path === undefined) {
      fail('target', target, 'a target is an absolute path without "..", e.g. /etc/app.conf');
    } else take(path, at('configs', index, 'target'), target);
    if (mode !== undefined && !/^0?[0-7]{3}$/.test(mode)) {
      fail('mode', mode, 'a mode is octal, e.g. "0440"');
    }
    const change = config.onChange;
    if (change !== undefined && (change.signal === undefined) === (change.command === undefined)) {
      fail('onChange', change, 'say either signal or command');
    }
    if (change?.signal !== undefined && !isSignal(change.signal)) {
      fail('onChange', change.signal, 'not a signal of Linux: use e.g. "SIGHUP"');
    }
  }
  for (const [index, { configMap, secret }] of (spec.envFrom ?? []).entries()) {
    if ((configMap === undefined) === (secret === undefined)) {
      errors.push({
        path: at('envFrom', index),
        value: configMap,
        message: 'name either a configMap or a secret',
        severity: 'error',
      });
    }
  }
}

function validateDefinition(
  name: string,
  definition: VolumeDefinition,
  path: string,
  errors: FieldError[],
): void {
  const fail = (message: string): void => {
    errors.push({ path, value: name, message, severity: 'error' });
  };
  try {
    if (parseVolume(`${name}:/x`).type !== 'volume') fail('a volume is named without "/" or "."');
  } catch (error) {
    if (!(error instanceof InvalidValueError)) throw error;
    fail(error.expected);
  }
  const { external, name: given, driver, driverOpts, reclaimPolicy } = definition;
  if (external === true) {
    if (driver !== undefined || driverOpts !== undefined) {
      fail('an external volume is made by somebody else: leave driver and driverOpts out');
    }
    if (reclaimPolicy === 'delete') {
      fail('an external volume is not deleted by nap: leave reclaimPolicy out');
    }
  } else if (given !== undefined) {
    fail('only an external volume has a name of its own: add external: true, or leave name out');
  }
}

function warnUnused(name: string, path: string, errors: FieldError[]): void {
  errors.push({
    path,
    value: name,
    message: `no service mounts this volume: mount it as "${name}:/var/lib/data", or leave it out`,
    severity: 'warning',
  });
}

function volumeName(volume: string): string | undefined {
  try {
    const mount = parseVolume(volume);
    return mount.type === 'volume' ? mount.source : undefined;
  } catch {
    // Said elsewhere.
    return undefined;
  }
}

function isGiven(value: unknown): boolean {
  return value !== undefined;
}
