import { pausedAnnotation } from '../../api/v1alpha1/group.ts';
import { standaloneProject } from '../../api/v1alpha1/names.ts';
import { formatFieldError } from '../../api/v1alpha1/field-error.ts';
import { parseLink } from '../../api/v1alpha1/link-string.ts';
import { serviceId, type ServiceIdentity } from '../../api/v1alpha1/names.ts';
import { parseService } from '../../api/v1alpha1/parse.ts';
import { parsePorts } from '../../api/v1alpha1/port-string.ts';
import { resolveContainerSpec, specHash } from '../../api/v1alpha1/resolve.ts';
import { defaultUpdatePolicy, updatePolicyOf } from '../../api/v1alpha1/update-policy.ts';
import type { ServiceSpec } from '../../api/v1alpha1/service-spec.ts';
import type { Service } from '../../api/v1alpha1/service.ts';
import type { ServiceRecord } from '../../registry/records/service.ts';
import type { PlacementRules } from '../../scheduler/index.ts';
import { identityOf } from '../identity.ts';
import type { DesiredInstance, DesiredInstances } from '../placement/types.ts';

/** What a Service object asks for. */
export interface ServiceWish {
  readonly key: string;
  readonly identity: ServiceIdentity;
  /** The object as last seen; newer versions of it may differ in what does not matter here. */
  readonly object: Service;
  readonly want:
    | {
        readonly type: 'run';
        readonly instances: DesiredInstances;
        readonly rules: PlacementRules;
        readonly record: ServiceRecord;
      }
    /** Everything of it has to go. */
    | { readonly type: 'remove' }
    /** It cannot be acted upon; what runs stays as it is. */
    | { readonly type: 'invalid'; readonly message: string };
}

/** Reads a Service object. Never throws. */
export function wishOf(object: Service): ServiceWish {
  const identity = identityOf(object.metadata);
  return { key: serviceId(identity), identity, object, want: wantOf(object, identity) };
}

function wantOf(object: Service, identity: ServiceIdentity): ServiceWish['want'] {
  if (object.metadata.deletionTimestamp !== undefined) return { type: 'remove' };
  const parsed = parseService(object);
  if (!parsed.ok) {
    const errors = parsed.errors.filter((error) => error.severity === 'error');
    return { type: 'invalid', message: errors.map(formatFieldError).join('; ') };
  }
  const { spec } = parsed.value;
  const uid = object.metadata.uid ?? '';
  const update = updatePolicyOf(spec.update, (spec.ports ?? []).flatMap(parsePorts));
  if (update.failureAction === 'rollback' && identity.project === standaloneProject) {
    const message =
      'spec.update.failureAction: "rollback": only a Project keeps revisions to go back to: use pause';
    return { type: 'invalid', message };
  }
  return {
    type: 'run',
    instances: {
      uid,
      replicas: spec.replicas,
      instance: memoisedInstances(identity, spec),
      ...(update === defaultUpdatePolicy ? {} : { update }),
      ...(object.metadata.annotations?.[pausedAnnotation] === 'true' ? { paused: true } : {}),
    },
    rules: rulesOf(spec),
    record: serviceRecordOf(uid, spec),
  };
}

/** Resolves each ordinal once: the hash of thousands of specs is not free. */
function memoisedInstances(
  identity: ServiceIdentity,
  spec: ServiceSpec,
): (ordinal: number) => DesiredInstance {
  const known = new Map<number, DesiredInstance>();
  return (ordinal) => {
    let instance = known.get(ordinal);
    if (instance === undefined) {
      const container = resolveContainerSpec(identity, spec, ordinal);
      instance = { container, specHash: specHash(container) };
      known.set(ordinal, instance);
    }
    return instance;
  };
}

function rulesOf(spec: ServiceSpec): PlacementRules {
  const { strategy, machineMetadata, machineID } = spec.placement ?? { strategy: 'spread' };
  return {
    strategy,
    ...(machineMetadata === undefined ? {} : { machineMetadata }),
    ...(machineID === undefined ? {} : { machineID }),
  };
}

/** What every host must know of a service. */
export function serviceRecordOf(uid: string, spec: ServiceSpec): ServiceRecord {
  const ports = new Map(
    (spec.ports ?? [])
      .flatMap(parsePorts)
      .map(({ containerPort: port, protocol }) => [
        `${String(port)}/${protocol}`,
        { port, protocol },
      ]),
  );
  return { uid, ports: [...ports.values()], links: (spec.links ?? []).map(parseLink) };
}

/** Whether a newer version of a Service asks for the same, so that the wish need not be read again. */
export function asksTheSame(a: Service, b: Service): boolean {
  const left = a.metadata;
  const right = b.metadata;
  return (
    left.uid === right.uid &&
    left.generation !== undefined &&
    left.generation === right.generation &&
    (left.deletionTimestamp === undefined) === (right.deletionTimestamp === undefined) &&
    left.annotations?.[pausedAnnotation] === right.annotations?.[pausedAnnotation] &&
    serviceId(identityOf(left)) === serviceId(identityOf(right))
  );
}
