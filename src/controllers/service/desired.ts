import { pausedAnnotation } from '../../api/v1alpha1/group.ts';
import { instanceName, standaloneProject } from '../../api/v1alpha1/names.ts';
import {
  resolveContent,
  type BlockReason,
  type ContentBundle,
  type ContentRef,
  type FoundContent,
  type ResolvedContent,
} from '../../api/v1alpha1/content.ts';
import type { Bonds } from '../../api/v1alpha1/bonds.ts';
import { formatFieldError } from '../../api/v1alpha1/field-error.ts';
import {
  dependsOnHost,
  fillSpec,
  type PlaceholderValues,
} from '../../api/v1alpha1/placeholders.ts';
import { parseLink } from '../../api/v1alpha1/link-string.ts';
import { serviceId, type ServiceIdentity } from '../../api/v1alpha1/names.ts';
import { parseService } from '../../api/v1alpha1/parse.ts';
import { parsePorts } from '../../api/v1alpha1/port-string.ts';
import { resolveContainerSpec, specHash } from '../../api/v1alpha1/resolve.ts';
import { defaultUpdatePolicy, updatePolicyOf } from '../../api/v1alpha1/update-policy.ts';
import { resolveVolumes, type InstanceVolume } from '../../api/v1alpha1/resolve-volumes.ts';
import type { ServiceSpec } from '../../api/v1alpha1/service-spec.ts';
import type { Service } from '../../api/v1alpha1/service.ts';
import type { ServiceRecord } from '../../registry/records/service.ts';
import type { PlacementRules } from '../../scheduler/index.ts';
import { identityOf } from '../identity.ts';
import { rulesOf } from './rules.ts';
import type { DesiredInstance, DesiredInstances, HostIdentity } from '../placement/types.ts';

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
        /** Services of the project that it goes with. */
        readonly bonds?: Bonds;
        /** Its instances return to the hosts that have their volumes. */
        readonly bound?: boolean;
        /** One instance on every matching host. */
        readonly global?: boolean;
        /** Why it cannot be made anew now; what runs stays. */
        readonly blocked?: { readonly reason: BlockReason; readonly message: string };
        /** Contents that each instance is given. */
        readonly bundle?: ContentBundle;
        /** The named volumes of an ordinal on a host; absent: it has none. */
        readonly volumes?: (ordinal: number, at: HostIdentity) => readonly InstanceVolume[];
      }
    /** Everything of it has to go. */
    | { readonly type: 'remove' }
    /** It cannot be acted upon; what runs stays as it is. */
    | { readonly type: 'invalid'; readonly message: string };
}

/** Tells what is known of a ConfigMap or Secret. */
export type ContentLookup = (namespace: string, ref: ContentRef) => FoundContent;

const nothingKnown: ContentLookup = () => ({ type: 'unknown', why: 'not read yet' });

/** Reads a Service object. Never throws. */
export function wishOf(object: Service, lookup: ContentLookup = nothingKnown): ServiceWish {
  const identity = identityOf(object.metadata);
  return { key: serviceId(identity), identity, object, want: wantOf(object, identity, lookup) };
}

function wantOf(
  object: Service,
  identity: ServiceIdentity,
  lookup: ContentLookup,
): ServiceWish['want'] {
  if (object.metadata.deletionTimestamp !== undefined) return { type: 'remove' };
  const parsed = parseService(object);
  if (!parsed.ok) {
    const errors = parsed.errors.filter((error) => error.severity === 'error');
    return { type: 'invalid', message: errors.map(formatFieldError).join('; ') };
  }
  const { spec } = parsed.value;
  const uid = object.metadata.uid ?? '';
  const outcome = resolveContent(spec, (ref) => lookup(identity.namespace, ref));
  const content = outcome.type === 'ok' ? outcome.content : undefined;
  const update = updatePolicyOf(
    spec.update,
    (fillSpec(spec, placeholderValues(identity, 1, someHost)).ports ?? []).flatMap(parsePorts),
  );
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
      instance: memoisedInstances(identity, spec, content),
      ...(update === defaultUpdatePolicy ? {} : { update }),
      ...(object.metadata.annotations?.[pausedAnnotation] === 'true' ? { paused: true } : {}),
    },
    rules: {
      ...rulesOf(identity, spec),
      ...(content?.bundle === undefined ? {} : { sealed: true }),
    },
    record: serviceRecordOf(uid, spec),
    ...bondsOf(spec),
    ...(outcome.type === 'ok'
      ? {}
      : { blocked: { reason: outcome.reason, message: outcome.message } }),
    ...(content?.bundle === undefined ? {} : { bundle: content.bundle }),
    ...(spec.placement?.volumeAffinity === 'none' || spec.placement?.global === true
      ? {}
      : { bound: true }),
    ...(spec.placement?.global === true ? { global: true } : {}),
    ...(spec.volumes === undefined
      ? {}
      : {
          volumes: (ordinal: number, at: HostIdentity) =>
            resolveVolumes(identity, fillSpec(spec, placeholderValues(identity, ordinal, at))),
        }),
  };
}

function bondsOf(spec: ServiceSpec): { bonds?: Bonds } {
  const { dependsOn, requires, bindsTo, partOf, conflictsWith } = spec;
  const all = { dependsOn, requires, bindsTo, partOf, conflictsWith };
  return Object.values(all).every((bond) => bond === undefined) ? {} : { bonds: all };
}

/** Resolves each ordinal once: the hash of thousands of specs is not free. */
function memoisedInstances(
  identity: ServiceIdentity,
  spec: ServiceSpec,
  content: ResolvedContent | undefined,
): (ordinal: number) => DesiredInstance {
  const known = new Map<number, DesiredInstance>();
  const hostBound = dependsOnHost(spec);
  return (ordinal) => {
    let instance = known.get(ordinal);
    if (instance === undefined) {
      const make = (at: HostIdentity) => {
        const filled = fillSpec(spec, placeholderValues(identity, ordinal, at));
        const container = resolveContainerSpec(identity, filled, ordinal, content);
        const volumes = makingOf(resolveVolumes(identity, filled));
        return { container, ...(volumes === undefined ? {} : { volumes }) };
      };
      const made = make(someHost);
      instance = {
        ...made,
        specHash: specHash(made.container),
        ...(hostBound ? { on: make } : {}),
      };
      known.set(ordinal, instance);
    }
    return instance;
  };
}

/**
 * Stands for a host where none is known yet. It makes the hash of a spec with %H or %m the same on every host: what is
 * wanted is compared without knowing where something is.
 */
const someHost: HostIdentity = { host: 'some-host', machineID: 'some-machine' };

function placeholderValues(
  identity: ServiceIdentity,
  ordinal: number,
  at: HostIdentity,
): PlaceholderValues {
  return { name: instanceName({ ...identity, ordinal: String(ordinal) }), ordinal, ...at };
}

/** What the placement says about the making of volumes: nothing about those with nothing said. */
function makingOf(volumes: readonly InstanceVolume[]): DesiredInstance['volumes'] {
  const special = volumes.filter(
    (v) => v.external || v.driver !== undefined || v.driverOpts !== undefined,
  );
  if (special.length === 0) return undefined;
  return Object.fromEntries(
    special.map(({ name, external, driver, driverOpts }) => [
      name,
      {
        ...(external ? { external } : {}),
        ...(driver === undefined ? {} : { driver }),
        ...(driverOpts === undefined ? {} : { driverOpts: { ...driverOpts } }),
      },
    ]),
  );
}

/** What every host must know of a service. */
export function serviceRecordOf(uid: string, spec: ServiceSpec): ServiceRecord {
  const ports = new Map(
    (spec.ports ?? [])
      // Placeholders stand in the ports of hosts only, which do not matter here.
      .map((port) => (typeof port === 'string' ? port.replaceAll('%i', '1') : port))
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
