import { equalJson } from '../../api/json.ts';
import {
  apiVersion,
  finalizer,
  labels,
  pausedAnnotation,
  ranAnnotation,
  revisionAnnotation,
  runAnnotation,
} from '../../api/v1alpha1/group.ts';
import { inOrder } from '../../api/v1alpha1/bonds.ts';
import type { KubeObject } from '../../api/v1alpha1/meta.ts';
import { ownedServiceName } from '../../api/v1alpha1/names.ts';
import { withProjectParts } from '../../api/v1alpha1/project-parts.ts';
import type { Project } from '../../api/v1alpha1/project.ts';
import type { Service } from '../../api/v1alpha1/service.ts';
import { digest } from '../digest.ts';
import type { Gate } from './pre-deploy.ts';
import { controllerOf } from '../identity.ts';

/** On Services: the number of replicas that their Project asked for when it last set them. */
export const appliedReplicas = 'nap.dev/applied-replicas';

/** On Services: digest of what their Project said when it was last applied. */
const appliedSpec = 'nap.dev/applied-spec';

/** A Service as the Project's field manager applies it: only the fields that the Project owns. */
export interface ServiceApplication extends KubeObject {
  readonly spec: Service['spec'];
}

export type ProjectStep =
  | {
      readonly type: 'apply';
      readonly service: ServiceApplication;
      /** The Service is new, and no other version of it may be overwritten. */
      readonly create: boolean;
    }
  | {
      readonly type: 'delete';
      readonly service: Service;
      readonly reason: 'Pruned' | 'ProjectDeleted';
    }
  /** Tells the Service that updates have to stop where they are. */
  | { readonly type: 'pause'; readonly service: Service };

/** A service that cannot be made because its object's name belongs to somebody else. */
export interface NameClash {
  readonly service: string;
  readonly objectName: string;
  /** "Project shop-a", or undefined when nobody controls the object. */
  readonly owner: string | undefined;
}

export interface ProjectPlan {
  readonly steps: readonly ProjectStep[];
  readonly clashes: readonly NameClash[];
}

/**
 * What to do so that the Services of `project` become what its spec says. Pure, and idempotent.
 *
 * **Replicas** have two writers. The Project sets them when its own number changes (the annotation `appliedReplicas` on
 * the Service says which number it last set). In between, what `kubectl scale` or an autoscaler writes into the Service
 * stands: the Project then applies the number that it found. So the last one who changed their mind wins, and nobody
 * fights. An application always carries the resourceVersion that it was computed from, so a scaling that comes in
 * between is not overwritten but looked at again.
 *
 * @param revision number of the revision that `project` has the spec of.
 * @param gate its pre-deploy job. Before that has succeeded, nothing else is made, changed or deleted.
 * @param observed every Service of the project's namespace that it controls, or whose name it needs.
 */
export function planProject(
  project: Project,
  observed: ReadonlyMap<string, Service>,
  revision?: number,
  gate?: Gate,
): ProjectPlan {
  const isShut = gate?.passed === false;
  const steps: ProjectStep[] = [];
  const clashes: NameClash[] = [];
  const wanted = new Set<string>();
  // What others depend on comes first, so that whoever follows the Services never sees a dependent that is ahead.
  for (const service of inOrder(Object.entries(project.spec.services))) {
    const spec = project.spec.services[service];
    if (spec === undefined || (isShut && service !== gate.service)) continue;
    const objectName = ownedServiceName(project.metadata.name, service);
    wanted.add(objectName);
    const present = observed.get(objectName);
    if (present !== undefined && !isControlledBy(present, project)) {
      const owner = controllerOf(present.metadata);
      clashes.push({
        service,
        objectName,
        owner: owner === undefined ? undefined : `${owner.kind} ${owner.name}`,
      });
      continue;
    }
    // It has to be gone before another one can take its name.
    if (present?.metadata.deletionTimestamp !== undefined) continue;
    const whole = withProjectParts(project.spec, spec);
    const run = gate?.service === service ? gate : undefined;
    const application = serviceApplication(project, service, whole, present, revision, run);
    if (present === undefined || differs(application, present)) {
      steps.push({ type: 'apply', service: application, create: present === undefined });
    }
  }
  for (const service of isShut ? [] : observed.values()) {
    if (wanted.has(service.metadata.name) || !isControlledBy(service, project)) continue;
    if (service.metadata.deletionTimestamp === undefined) {
      steps.push({ type: 'delete', service, reason: 'Pruned' });
    }
  }
  return { steps, clashes };
}

/** What to do for a Project that is being deleted: its Services go; when there are none left, it may go too. */
export function planTeardown(
  project: Project,
  observed: ReadonlyMap<string, Service>,
): { steps: ProjectStep[]; remaining: number } {
  const owned = [...observed.values()].filter((service) => isControlledBy(service, project));
  return {
    steps: owned
      .filter((service) => service.metadata.deletionTimestamp === undefined)
      .map((service) => ({ type: 'delete', service, reason: 'ProjectDeleted' })),
    remaining: owned.length,
  };
}

/** What to do for a Project that is paused: its Services stay as they are, and learn that they are paused. */
export function planPause(project: Project, observed: ReadonlyMap<string, Service>): ProjectStep[] {
  return [...observed.values()]
    .filter(
      (service) =>
        isControlledBy(service, project) &&
        service.metadata.deletionTimestamp === undefined &&
        service.metadata.annotations?.[pausedAnnotation] !== 'true',
    )
    .map((service) => ({ type: 'pause', service }));
}

/** Names of the project's services; none for a spec that is not even an object (an unchecked source). */
export function serviceNames(project: Project): string[] {
  const spec = project.spec as Partial<Project['spec']> | undefined;
  return Object.keys(spec?.services ?? {});
}

/** The replicas that the project itself asks for; undefined when it does not say, or not a number. */
export function askedReplicas(project: Project, service: string): number | undefined {
  const entry = project.spec.services[service] as Partial<Service['spec']> | undefined;
  return typeof entry?.replicas === 'number' ? entry.replicas : undefined;
}

export function isControlledBy(object: KubeObject, project: Project): boolean {
  const owner = controllerOf(object.metadata);
  return owner !== undefined && owner.uid === project.metadata.uid;
}

function serviceApplication(
  project: Project,
  service: string,
  spec: Service['spec'],
  present: Service | undefined,
  revision: number | undefined,
  gate: Gate | undefined,
): ServiceApplication {
  const { name, namespace, uid } = project.metadata;
  const asked = spec.replicas ?? 1;
  const set = present?.metadata.annotations?.[appliedReplicas];
  const replicas = set === String(asked) ? (present?.spec.replicas ?? 1) : asked;
  return {
    apiVersion,
    kind: 'Service',
    metadata: {
      name: ownedServiceName(name, service),
      ...(namespace === undefined ? {} : { namespace }),
      ...(present?.metadata.resourceVersion === undefined
        ? {}
        : { resourceVersion: present.metadata.resourceVersion }),
      labels: { [labels.project]: name, [labels.service]: service },
      annotations: {
        [appliedReplicas]: String(asked),
        [appliedSpec]: digest(spec),
        // "false" and not nothing: it may have been paused.
        ...(present?.metadata.annotations?.[pausedAnnotation] === undefined
          ? {}
          : { [pausedAnnotation]: 'false' }),
        ...(revision === undefined ? {} : { [revisionAnnotation]: String(revision) }),
        ...runAnnotations(present, gate),
      },
      finalizers: [finalizer],
      ownerReferences: [
        {
          apiVersion,
          kind: 'Project',
          name,
          uid: uid ?? '',
          controller: true,
          blockOwnerDeletion: true,
        },
      ],
    },
    spec: { ...spec, replicas },
  };
}

/** Which run a oneshot is to make. What somebody else has said, or an earlier revision, stays: taken away, it would be another run. */
function runAnnotations(
  present: Service | undefined,
  gate: Gate | undefined,
): Record<string, string> {
  const { [runAnnotation]: run, [ranAnnotation]: ran } = present?.metadata.annotations ?? {};
  if (gate !== undefined) {
    return { [runAnnotation]: gate.run, ...(gate.passed ? { [ranAnnotation]: gate.run } : {}) };
  }
  return {
    ...(run === undefined ? {} : { [runAnnotation]: run }),
    ...(ran === undefined ? {} : { [ranAnnotation]: ran }),
  };
}

/**
 * Whether applying would change anything. It would if the Project says something else than when it was last applied, or
 * if somebody has since changed a field that it owns. Fields that others added are theirs and stay.
 */
function differs(application: ServiceApplication, present: Service): boolean {
  const want = application.metadata;
  const have = present.metadata;
  return !(
    includes(have.labels, want.labels) &&
    includes(have.annotations, want.annotations) &&
    includes(present.spec, application.spec) &&
    (want.finalizers ?? []).every((f) => have.finalizers?.includes(f))
  );
}

/** Whether all that `want` says stands in `have`: objects may hold more, everything else has to be equal. */
function includes(have: unknown, want: unknown): boolean {
  if (typeof want !== 'object' || want === null || Array.isArray(want))
    return equalJson(have, want);
  if (typeof have !== 'object' || have === null || Array.isArray(have)) return false;
  const fields = have as Record<string, unknown>;
  return Object.entries(want).every(
    ([key, value]) => value === undefined || includes(fields[key], value),
  );
}
