import type { ConfigMount } from './config-mount.ts';
import type { ProjectSpecInput } from './project.ts';
import type { ServiceSpecInput } from './service-spec.ts';
import type { TemplateSpec } from './template-spec.ts';
import { parseVolume } from './volume-string.ts';

/**
 * The spec of a Project's service with what it takes from the rest of the Project filled in, so that it stands by itself
 * in the Service object: definitions of the volumes that it mounts, contents of configs, volumes of another service, isolation.
 * Returns `spec` itself when it takes nothing. Pure; expects a project that `validateProject` finds no error in.
 */
export function withProjectParts(
  project: Pick<ProjectSpecInput, 'services' | 'volumes' | 'configs' | 'network'>,
  spec: ServiceSpecInput,
): ServiceSpecInput {
  let result = spec;
  const [from] = spec.volumesFrom ?? [];
  if (from !== undefined) {
    const rest = { ...result };
    delete rest.volumesFrom;
    const [name = '', mode] = from.split(':');
    const volumes = [
      ...(spec.volumes ?? []),
      ...volumesOf(project, name, new Set(spec.volumes?.map(targetOf)), mode === 'ro'),
    ];
    result = {
      ...rest,
      ...(volumes.length === 0 ? {} : { volumes }),
      placement: { ...spec.placement, machineOf: spec.placement?.machineOf ?? name },
    };
  }
  if (project.volumes !== undefined) {
    const mounted = new Set(result.volumes?.map(nameOf));
    const used = Object.entries(project.volumes).filter(([name]) => mounted.has(name));
    if (used.length > 0) result = { ...result, volumeDefinitions: Object.fromEntries(used) };
  }
  if (spec.configs?.some((config) => config.source !== undefined) === true) {
    result = { ...result, configs: spec.configs.map((config) => withSource(project, config)) };
  }
  if (spec.templates?.some((template) => template.source !== undefined) === true) {
    const templates = spec.templates.map(({ source, ...rest }) => ({
      ...rest,
      ...(source === undefined ? {} : templateSource(project.configs?.[source])),
    }));
    result = { ...result, templates };
  }
  const { isolation } = project.network ?? {};
  return isolation === undefined ? result : { ...result, network: { isolation } };
}

/** Never a Secret: what is rendered is kept on disk. */
function templateSource(
  config: NonNullable<ProjectSpecInput['configs']>[string] | undefined,
): Pick<TemplateSpec, 'content' | 'configMap'> {
  const { content, configMap } = config ?? {};
  if (content !== undefined) return { content };
  const { name, key } = configMap ?? {};
  return name === undefined || key === undefined ? {} : { configMap: { name, key } };
}

function withSource(project: Pick<ProjectSpecInput, 'configs'>, config: ConfigMount): ConfigMount {
  const { source, ...rest } = config;
  return source === undefined ? config : { ...rest, ...project.configs?.[source] };
}

/** Volumes of a service and, if it has some from another one, of that; those at other places only. */
function volumesOf(
  project: Pick<ProjectSpecInput, 'services'>,
  service: string,
  taken: ReadonlySet<string | undefined>,
  readOnly: boolean,
): string[] {
  const volumes = project.services[service]?.volumes ?? [];
  return volumes
    .filter((volume) => !taken.has(targetOf(volume)))
    .map((volume) => (readOnly ? asReadOnly(volume) : volume));
}

function asReadOnly(volume: string): string {
  const [source = '', target = '', options = ''] = volume.split(':');
  const others = options.split(',').filter((o) => o !== '' && o !== 'ro' && o !== 'rw');
  return [source, target, ['ro', ...others].join(',')].join(':');
}

function targetOf(volume: string): string | undefined {
  return read(volume)?.target;
}

function nameOf(volume: string): string | undefined {
  const mount = read(volume);
  return mount?.type === 'volume' ? mount.source : undefined;
}

function read(volume: string): ReturnType<typeof parseVolume> | undefined {
  try {
    return parseVolume(volume);
  } catch {
    // Refused by validation; here it matches nothing.
    return undefined;
  }
}
