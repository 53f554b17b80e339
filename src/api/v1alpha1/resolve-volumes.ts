import type { Mount } from './container-spec.ts';
import { dockerVolumeName, standaloneProject, type ServiceIdentity } from './names.ts';
import type { ServiceSpec } from './service-spec.ts';
import { parseTmpfs } from './tmpfs-string.ts';
import type { ReclaimPolicy } from './volume-definition.ts';
import { parseVolume } from './volume-string.ts';

/** A named volume that an instance mounts. */
export interface InstanceVolume {
  /** The engine's name. */
  readonly name: string;
  /** As the user called it, placeholders filled in. */
  readonly volume: string;
  readonly reclaimPolicy: ReclaimPolicy;
  /** Must exist; nap neither makes nor deletes it. */
  readonly external: boolean;
  readonly driver?: string;
  readonly driverOpts?: Readonly<Record<string, string>>;
}

type VolumeSpec = Pick<ServiceSpec, 'volumes' | 'tmpfs' | 'volumeDefinitions'>;

/**
 * The mounts of an instance, from a spec whose placeholders are filled in.
 * @throws {InvalidValueError}
 */
export function resolveMounts(identity: ServiceIdentity, spec: VolumeSpec): Mount[] {
  const mounts = (spec.volumes ?? []).map((text): Mount => {
    const mount = parseVolume(text);
    const { readOnly } = mount;
    const target = mount.target;
    if (mount.type === 'bind') {
      const { propagation } = mount;
      return {
        type: 'bind',
        source: mount.source,
        target,
        readOnly,
        ...(propagation === undefined ? {} : { propagation }),
      };
    }
    return {
      type: 'volume',
      name: engineName(identity, spec, mount.source),
      target,
      readOnly,
    };
  });
  const inMemory = (spec.tmpfs ?? []).map((text): Mount => ({
    type: 'tmpfs',
    ...parseTmpfs(text),
  }));
  return [...mounts, ...inMemory];
}

/** The named volumes of an instance, each once, from a spec whose placeholders are filled in. */
export function resolveVolumes(identity: ServiceIdentity, spec: VolumeSpec): InstanceVolume[] {
  const volumes = new Map<string, InstanceVolume>();
  for (const text of spec.volumes ?? []) {
    const { type, source } = parseVolume(text);
    if (type === 'bind') continue;
    const definition = spec.volumeDefinitions?.[source];
    const name = engineName(identity, spec, source);
    volumes.set(name, {
      name,
      volume: source,
      reclaimPolicy: definition?.reclaimPolicy ?? 'retain',
      external: definition?.external === true,
      ...(definition?.driver === undefined ? {} : { driver: definition.driver }),
      ...(definition?.driverOpts === undefined ? {} : { driverOpts: definition.driverOpts }),
    });
  }
  return [...volumes.values()];
}

/** What stands for the project in names of volumes: a standalone service is a project of its own. */
export function volumeProject({ project, service }: ServiceIdentity): string {
  return project === standaloneProject ? `_${service}` : project;
}

function engineName(identity: ServiceIdentity, spec: VolumeSpec, source: string): string {
  const definition = spec.volumeDefinitions?.[source];
  if (definition?.external === true) return definition.name ?? source;
  return dockerVolumeName(identity, source);
}
