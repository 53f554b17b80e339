import { createHash } from 'node:crypto';
import { canonicalJson } from '../json.ts';
import { parseByteSize } from './byte-size.ts';
import type { ContainerSpec } from './container-spec.ts';
import { parseCpuQuantity } from './cpu-quantity.ts';
import { parseDuration } from './duration.ts';
import { resolveHealthCheck } from './health-check.ts';
import { resolveHooks } from './hooks.ts';
import type { ResolvedContent } from './content.ts';
import { instanceName, type ServiceIdentity } from './names.ts';
import { containerPorts } from './published-ports.ts';
import type { ResolvedLinks } from './resolve-links.ts';
import { restartPolicyOf } from './restart-policy.ts';
import { resolveMounts } from './resolve-volumes.ts';
import type { ServiceSpec } from './service-spec.ts';

/**
 * All that an agent needs to run instance `ordinal` (from 1) of a service: short strings read, units computed, names
 * filled in. Pure: the same service and ordinal always give the same container.
 * @throws {InvalidValueError} for what `validateService` would have refused
 */
export function resolveContainerSpec(
  identity: ServiceIdentity,
  spec: ServiceSpec,
  ordinal: number,
  content?: ResolvedContent,
  links?: ResolvedLinks,
): ContainerSpec {
  const limits = spec.resources?.limits;
  const restart = restartPolicyOf(spec);
  return {
    image: spec.image,
    ...given({
      command: spec.command,
      entrypoint: spec.entrypoint,
      user: spec.user,
      workingDir: spec.workingDir,
      stopSignal: spec.stopSignal,
    }),
    environment: Object.fromEntries([
      ...Object.entries(content?.environment ?? {}),
      ...Object.entries(spec.environment ?? {}).map(([name, value]) => [name, String(value)]),
    ]) as Record<string, string>,
    ports: containerPorts(spec),
    mounts: resolveMounts(identity, spec),
    ...content?.container,
    ...(links === undefined
      ? {}
      : { links: { hosts: { ...links.hosts }, environment: { ...links.environment(ordinal) } } }),
    labels: { ...spec.labels },
    hostname: spec.hostname ?? instanceName({ ...identity, ordinal: String(ordinal) }),
    pullPolicy: spec.pullPolicy,
    restart,
    ...(spec.type === 'oneshot' ? { oneshot: true } : {}),
    ...given({
      // Of a job it is the operator's, between two tries.
      restartMs:
        spec.restartSec === undefined || spec.job !== undefined
          ? undefined
          : parseDuration(spec.restartSec),
      startLimit: spec.startLimit && {
        burst: spec.startLimit.burst,
        intervalMs: parseDuration(spec.startLimit.interval ?? '10s'),
      },
      fencing: spec.fencing === 'stop' ? ('stop' as const) : undefined,
      healthCheck: resolveHealthCheck(spec.healthCheck, restart),
    }),
    ...resolveHooks(spec),
    ...(spec.start === false && { start: false as const }),
    stopGracePeriodMs: parseDuration(spec.stopGracePeriod),
    limits: { ...amounts(limits), ...given({ pids: limits?.pids }) },
    reservations: amounts(spec.resources?.reservations),
  };
}

/**
 * SHA-256 (hex) of a container spec. The order of keys and absent fields do not matter; the order of lists does.
 * Scale, placement and labels of Kubernetes objects are not part of a container spec, so they never change it. Of links, the
 * addresses count.
 */
export function specHash(container: ContainerSpec): string {
  const { links, ...rest } = container;
  const hashed = links === undefined ? rest : { ...rest, links: links.hosts };
  return createHash('sha256').update(canonicalJson(hashed)).digest('hex');
}

function amounts(
  from:
    | { readonly cpus?: string | number | undefined; readonly memory?: string | number | undefined }
    | undefined,
): { cpuMillis?: number; memoryBytes?: number } {
  return given({
    cpuMillis: from?.cpus === undefined ? undefined : parseCpuQuantity(from.cpus),
    memoryBytes: from?.memory === undefined ? undefined : parseByteSize(from.memory),
  });
}

type Given<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** Leaves out what is undefined: absent and undefined differ under exactOptionalPropertyTypes, and in JSON. */
function given<T extends object>(fields: T): Given<T> {
  return Object.fromEntries(
    Object.entries(fields).filter(([, value]) => value !== undefined),
  ) as Given<T>;
}
