import { pausedAnnotation, ranAnnotation, runAnnotation } from '../../api/v1alpha1/group.ts';
import { defaultBackoffLimit, type ScheduleSpec } from '../../api/v1alpha1/job-spec.ts';
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
import { parseDuration } from '../../api/v1alpha1/duration.ts';
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
import { containerPorts, meshPorts } from '../../api/v1alpha1/published-ports.ts';
import { resolveContainerSpec, specHash } from '../../api/v1alpha1/resolve.ts';
import { defaultUpdatePolicy, updatePolicyOf } from '../../api/v1alpha1/update-policy.ts';
import { resolveVolumes, type InstanceVolume } from '../../api/v1alpha1/resolve-volumes.ts';
import {
  resolveLinks,
  type LinkBlockReason,
  type LinkTarget,
  type ResolvedLinks,
} from '../../api/v1alpha1/resolve-links.ts';
import type { ServiceSpec } from '../../api/v1alpha1/service-spec.ts';
import type { Service } from '../../api/v1alpha1/service.ts';
import type { ServiceRecord } from '../../registry/records/service.ts';
import type { PlacementRules } from '../../scheduler/index.ts';
import { digest } from '../digest.ts';
import { identityOf, scheduleOf } from '../identity.ts';
import { firstRetryMs } from '../placement/run-state.ts';
import { resolveRoutes, type RouteWish } from '../routes/resolve.ts';
import { rulesOf } from './rules.ts';
import type {
  DesiredInstance,
  DesiredInstances,
  HostIdentity,
  OneshotPolicy,
} from '../placement/types.ts';

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
        /** Without the virtual IP, which the placement loop gives out. */
        readonly record: ServiceRecord;
        /** It is to have a virtual IP. */
        readonly addressed: boolean;
        /** Requests from outside that it wants; absent: none. */
        readonly routes?: readonly RouteWish[];
        /** Services of the project that it goes with. */
        readonly bonds?: Bonds;
        /** Its instances return to the hosts that have their volumes. */
        readonly bound?: boolean;
        /** One instance on every matching host. */
        readonly global?: boolean;
        /** Why it cannot be made anew now; what runs stays. */
        readonly blocked?: {
          readonly reason: BlockReason | LinkBlockReason;
          readonly message: string;
        };
        /** It has no instances itself: each of its runs is a Service of its own. */
        readonly schedule?: ScheduleSpec;
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

/**
 * A host begins to stop what is fenced before others can see its lease gone. Beyond the grace period this much time is left
 * for the engine, and for an agent that was killed in that moment to be started again by its supervisor.
 */
const fenceMarginMs = 10_000;

/** Tells what is known of a ConfigMap or Secret. */
export type ContentLookup = (namespace: string, ref: ContentRef) => FoundContent;

/** Tells what is known of a service that another one is linked to. */
export type LinkLookup = (service: ServiceIdentity) => LinkTarget;

/** What is known beside the object itself. */
export interface Lookups {
  readonly content: ContentLookup;
  readonly link: LinkLookup;
}

const nothingKnown: Lookups = {
  content: () => ({ type: 'unknown', why: 'not read yet' }),
  link: () => ({ type: 'unaddressed', why: 'not read yet' }),
};

/** Reads a Service object. Never throws. */
export function wishOf(object: Service, lookups: Lookups = nothingKnown): ServiceWish {
  const identity = identityOf(object.metadata);
  return { key: serviceId(identity), identity, object, want: wantOf(object, identity, lookups) };
}

function wantOf(object: Service, identity: ServiceIdentity, lookups: Lookups): ServiceWish['want'] {
  if (object.metadata.deletionTimestamp !== undefined) return { type: 'remove' };
  const parsed = parseService(object);
  if (!parsed.ok) {
    const errors = parsed.errors.filter((error) => error.severity === 'error');
    return { type: 'invalid', message: errors.map(formatFieldError).join('; ') };
  }
  const { spec } = parsed.value;
  const uid = object.metadata.uid ?? '';
  const outcome = resolveContent(spec, (ref) => lookups.content(identity.namespace, ref));
  const content = outcome.type === 'ok' ? outcome.content : undefined;
  const linked = resolveLinks(identity, spec, lookups.link);
  const links = linked.type === 'ok' ? linked.links : undefined;
  const block = [outcome, linked].find(({ type }) => type === 'blocked');
  const update = updatePolicyOf(
    spec.update,
    containerPorts(fillSpec(spec, placeholderValues(identity, 1, someHost))),
    spec.timeoutStart,
  );
  if (update.failureAction === 'rollback' && identity.project === standaloneProject) {
    const message =
      'spec.update.failureAction: "rollback": only a Project keeps revisions to go back to: use pause';
    return { type: 'invalid', message };
  }
  const { schedule } = spec;
  if (schedule !== undefined && identity.project === standaloneProject) {
    const volume = resolveVolumes(identity, spec)[0];
    if (volume !== undefined) {
      const message =
        `spec.volumes: ${JSON.stringify(volume.volume)}: the runs of a scheduled Service that stands alone have no volume in common: ` +
        'make it part of a Project';
      return { type: 'invalid', message };
    }
  }
  const instance = memoisedInstances(identity, spec, content, links);
  const oneshot =
    spec.type === 'oneshot' && schedule === undefined && spec.placement?.global !== true
      ? oneshotPolicyOf(object, spec, instance(1).specHash)
      : undefined;
  return {
    type: 'run',
    instances: {
      uid,
      replicas: schedule === undefined ? spec.replicas : 0,
      instance,
      ...(oneshot === undefined ? {} : { oneshot }),
      ...(update === defaultUpdatePolicy ? {} : { update }),
      ...(spec.fencing === 'stop'
        ? { fenced: { afterMs: parseDuration(spec.stopGracePeriod) + fenceMarginMs } }
        : {}),
      ...(object.metadata.annotations?.[pausedAnnotation] === 'true' ? { paused: true } : {}),
    },
    rules: {
      ...rulesOf(identity, spec),
      ...(content?.bundle === undefined ? {} : { sealed: true }),
    },
    record: serviceRecordOf(uid, spec, scheduleOf(object.metadata)),
    addressed: spec.endpointMode !== 'dns',
    ...(schedule === undefined ? bondsOf(spec) : { schedule }),
    ...(spec.routes === undefined
      ? {}
      : { routes: resolveRoutes(spec, (ref) => lookups.content(identity.namespace, ref)) }),
    ...(block?.type === 'blocked'
      ? { blocked: { reason: block.reason, message: block.message } }
      : {}),
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

function oneshotPolicyOf(
  { metadata }: Service,
  { job, remainAfterExit = false, restartSec }: ServiceSpec,
  specHash: string,
): OneshotPolicy {
  const annotation = metadata.annotations?.[runAnnotation];
  return {
    run: digest([metadata.uid ?? '', specHash, annotation ?? null]),
    ran: annotation !== undefined && metadata.annotations?.[ranAnnotation] === annotation,
    remains: remainAfterExit,
    ...(job === undefined
      ? {}
      : {
          job: {
            parallelism: job.parallelism ?? Infinity,
            backoffLimit: job.backoffLimit ?? defaultBackoffLimit,
            firstRetryMs: restartSec === undefined ? firstRetryMs : parseDuration(restartSec),
            ...(job.deadline === undefined ? {} : { deadlineMs: parseDuration(job.deadline) }),
          },
        }),
  };
}

function bondsOf(spec: ServiceSpec): { bonds?: Bonds } {
  const { dependsOn, requires, wants, bindsTo, partOf, conflictsWith } = spec;
  const all = { dependsOn, requires, wants, bindsTo, partOf, conflictsWith };
  return Object.values(all).every((bond) => bond === undefined) ? {} : { bonds: all };
}

/** Resolves each ordinal once: the hash of thousands of specs is not free. */
function memoisedInstances(
  identity: ServiceIdentity,
  spec: ServiceSpec,
  content: ResolvedContent | undefined,
  links: ResolvedLinks | undefined,
): (ordinal: number) => DesiredInstance {
  const known = new Map<number, DesiredInstance>();
  const hostBound = dependsOnHost(spec);
  return (ordinal) => {
    let instance = known.get(ordinal);
    if (instance === undefined) {
      const make = (at: HostIdentity) => {
        const filled = fillSpec(spec, placeholderValues(identity, ordinal, at));
        const container = resolveContainerSpec(identity, filled, ordinal, content, links);
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

/** What every host must know of a service. @param memberOf the one that it is a run of */
export function serviceRecordOf(uid: string, spec: ServiceSpec, memberOf?: string): ServiceRecord {
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
  const { sessionAffinity, trafficPolicy, drainTimeout } = spec;
  const { isolation = 'private' } = spec.network ?? {};
  const mesh = meshPorts(spec);
  return {
    uid,
    ports: [...ports.values()],
    links: (spec.links ?? []).map(parseLink),
    ...(mesh.length === 0 ? {} : { mesh }),
    ...(drainTimeout === undefined ? {} : { drainMs: parseDuration(drainTimeout) }),
    ...(sessionAffinity === 'clientIP' ? { sessionAffinity } : {}),
    ...(trafficPolicy === 'preferLocal' ? { trafficPolicy } : {}),
    ...(isolation === 'private' ? {} : { isolation }),
    ...((spec.routes ?? []).length === 0 ? {} : { routed: true }),
    ...(memberOf === undefined ? {} : { memberOf }),
  };
}

/** Annotations that say what to do. */
const steering = [pausedAnnotation, runAnnotation, ranAnnotation];

/** Whether a newer version of a Service asks for the same, so that the wish need not be read again. */
export function asksTheSame(a: Service, b: Service): boolean {
  const left = a.metadata;
  const right = b.metadata;
  return (
    left.uid === right.uid &&
    left.generation !== undefined &&
    left.generation === right.generation &&
    (left.deletionTimestamp === undefined) === (right.deletionTimestamp === undefined) &&
    steering.every((name) => left.annotations?.[name] === right.annotations?.[name]) &&
    serviceId(identityOf(left)) === serviceId(identityOf(right)) &&
    scheduleOf(left) === scheduleOf(right)
  );
}
