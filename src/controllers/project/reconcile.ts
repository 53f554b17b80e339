import { finalizer, labels, pausedAnnotation } from '../../api/v1alpha1/group.ts';
import { formatFieldError } from '../../api/v1alpha1/field-error.ts';
import { parseProject } from '../../api/v1alpha1/parse.ts';
import type { Project } from '../../api/v1alpha1/project.ts';
import type { Service } from '../../api/v1alpha1/service.ts';
import type { KubeClient } from '../../kube/client.ts';
import { findCondition } from '../../kube/conditions.ts';
import { isConflict, isInvalid, isNotFound } from '../../kube/errors.ts';
import type { EventRecorder } from '../../kube/events.ts';
import { addFinalizer, removeFinalizer } from '../../kube/finalizers.ts';
import { projects, services } from '../../kube/resources.ts';
import type { ReadonlyObjectStore } from '../../kube/store.ts';
import { wholeSecondsTime } from '../../kube/times.ts';
import type { Clock } from '../../runtime/clock.ts';
import type { Reconcile } from '../../runtime/controller.ts';
import type { VolumeBook } from '../placement/volume-book.ts';
import type { StatusWriter } from '../status-writer.ts';
import {
  isControlledBy,
  planPause,
  planProject,
  planTeardown,
  serviceNames,
  type ProjectStep,
} from './plan.ts';
import { planRelease, type Release, type Revision } from './release.ts';
import { gateOf } from './pre-deploy.ts';
import { releaseFacts } from './release-facts.ts';
import type { RevisionBook } from './revision-book.ts';
import { projectStatus, type ProjectFacts } from './status.ts';

/** Owner, in the API server's books, of the fields that a Project sets in its Services. */
export const projectFieldManager = 'nap-project';

export interface ProjectReconcilerOptions {
  /** What would make hosts more equal. Default: nothing. */
  readonly proposals?: (namespace: string, project: string) => readonly string[];
  readonly client: KubeClient;
  readonly objects: ReadonlyObjectStore<Project>;
  readonly services: ReadonlyObjectStore<Service>;
  readonly revisions: RevisionBook;
  readonly volumes: Pick<VolumeBook, 'release'>;
  readonly status: StatusWriter<Project>;
  readonly events: Pick<EventRecorder, 'record'>;
  readonly clock: Clock;
}

/** Another look at a Service that was changed while we looked, when the informer has it, milliseconds. */
const conflictRetryMs = 100;

/** One Project: makes its Services what its spec says, sums up how they stand, and goes when they have gone. */
export function projectReconciler(options: ProjectReconcilerOptions): Reconcile {
  const { client, objects, status, events } = options;
  return async (key, log, signal) => {
    const cached = objects.getByKey(key);
    if (cached === undefined) {
      status.forget(key);
      return;
    }
    const observed = servicesAround(cached, options.services);
    if (cached.metadata.deletionTimestamp !== undefined) {
      const { steps, remaining } = planTeardown(cached, observed);
      for (const step of steps) await execute(client, step, signal);
      if (remaining === 0) {
        await options.revisions.forget(identityOf(cached), signal);
        await options.volumes.release(identityOf(cached), signal);
        await removeFinalizer(client, projects, cached, finalizer, signal);
        return;
      }
      return report(cached, observed, { clashes: [] }, options, signal);
    }
    const parsed = parseProject(cached);
    if (!parsed.ok) {
      const errors = parsed.errors.filter((error) => error.severity === 'error');
      const invalid = errors.map(formatFieldError).join('; ');
      return report(cached, observed, { clashes: [], invalid }, options, signal);
    }
    // Before anything is made: what a Project made must be taken down before it goes.
    await addFinalizer(client, projects, cached, finalizer, signal);
    if (cached.spec.paused === true) {
      for (const step of planPause(cached, observed)) {
        const patched = await execute(client, step, signal);
        if (patched !== undefined) observed.set(patched.metadata.name, patched);
      }
      const kept = await options.revisions.of(
        identityOf(cached),
        cached.metadata.uid ?? '',
        signal,
      );
      return report(cached, observed, { clashes: [], revisions: kept }, options, signal);
    }
    const release = await decideRelease(cached, observed, options, signal);
    if ('refused' in release) {
      return report(
        cached,
        observed,
        { clashes: [], invalid: release.refused, revisions: release.kept },
        options,
        signal,
      );
    }
    const { project, revision } = release;
    const present = release.kept.find(({ number }) => number === revision);
    const gate = present === undefined ? undefined : gateOf(project.spec, present);
    const plan = planProject(project, observed, revision, gate);
    let conflict = false;
    let refused: string | undefined;
    for (const step of plan.steps) {
      try {
        const applied = await execute(client, step, signal);
        // The informer does not have it yet, and what it has would look as if all were done.
        if (applied !== undefined) observed.set(applied.metadata.name, applied);
        if (step.type === 'apply' && step.create) {
          events.record(
            cached,
            'Normal',
            'ServiceCreated',
            `made service ${step.service.metadata.name}`,
          );
        } else if (step.type === 'delete') {
          events.record(
            cached,
            'Normal',
            step.reason,
            `deleting service ${step.service.metadata.name}`,
          );
        }
      } catch (error) {
        if (isConflict(error)) conflict = true;
        else if (isInvalid(error)) refused = `${stepName(step)}: ${(error as Error).message}`;
        else throw error;
        const present = observed.get(step.service.metadata.name);
        if (present !== undefined) observed.set(present.metadata.name, behind(present));
        log.debug({ err: error, step: stepName(step) }, 'a service could not be applied');
        // Those that follow may depend on it.
        if (conflict) break;
      }
    }
    const result = await report(
      { ...cached, spec: project.spec },
      observed,
      {
        clashes: plan.clashes,
        release,
        revisions: release.kept,
        ...(gate?.passed === false ? { gate } : {}),
        ...(refused === undefined ? {} : { invalid: refused }),
      },
      options,
      signal,
    );
    return conflict ? { requeueAfterMs: conflictRetryMs } : result;
  };
}

/** Finds the revision that has to run, and has it written down before anybody acts upon it. */
async function decideRelease(
  cached: Project,
  observed: ReadonlyMap<string, Service>,
  { revisions, events, clock }: ProjectReconcilerOptions,
  signal: AbortSignal,
): Promise<(Release | { readonly refused: string }) & { readonly kept: readonly Revision[] }> {
  const id = identityOf(cached);
  const uid = cached.metadata.uid ?? '';
  const known = await revisions.of(id, uid, signal);
  const facts = { revisions: known, ...releaseFacts(cached, observed, known) };
  const release = planRelease(cached, facts, wholeSecondsTime(clock.now()));
  if ('refused' in release) return { ...release, kept: known };
  await revisions.change(id, release.put, release.remove, signal);
  const kept = await revisions.of(id, uid, signal);
  const checked = parseProject(release.project);
  if (!checked.ok) {
    const errors = checked.errors.filter((error) => error.severity === 'error');
    const why = errors.map(formatFieldError).join('; ');
    return { refused: `revision ${String(release.revision)} cannot run any more: ${why}`, kept };
  }
  for (const { number, failed } of release.put) {
    const news =
      failed !== undefined && known.find((r) => r.number === number)?.failed === undefined;
    if (!news || release.fallback === undefined) continue;
    const reason = release.fallback.running ? 'RolledBack' : 'UpdateFailed';
    events.record(cached, 'Warning', reason, release.fallback.message);
  }
  return { ...release, kept };
}

function identityOf({ metadata }: Project): { namespace: string; project: string } {
  return { namespace: metadata.namespace ?? 'default', project: metadata.name };
}

async function execute(
  client: KubeClient,
  step: ProjectStep,
  signal: AbortSignal,
): Promise<Service | undefined> {
  if (step.type === 'apply') {
    return client.apply(
      services,
      step.service,
      { fieldManager: projectFieldManager, force: true },
      signal,
    );
  }
  const { uid } = step.service.metadata;
  if (step.type === 'pause') {
    const body = { metadata: { annotations: { [pausedAnnotation]: 'true' } } };
    return client.patch(services, step.service.metadata, { type: 'merge', body }, signal);
  }
  try {
    await client.delete(
      services,
      step.service.metadata,
      uid === undefined ? {} : { preconditions: { uid } },
      signal,
    );
  } catch (error) {
    // Gone, or another one of that name by now: either way not what we meant to delete.
    if (!isNotFound(error) && !isConflict(error)) throw error;
  }
  return undefined;
}

/** The Service as one whose status says nothing about what it is to become. */
function behind(service: Service): Service {
  return { ...service, status: { ...service.status, observedGeneration: -1 } };
}

async function report(
  cached: Project,
  observed: ReadonlyMap<string, Service>,
  facts: Omit<ProjectFacts, 'services'>,
  options: ProjectReconcilerOptions,
  signal: AbortSignal,
): Promise<{ requeueAfterMs: number } | undefined> {
  const { status, events, clock } = options;
  const wait = status.waitMs(cached);
  if (wait > 0) return { requeueAfterMs: wait };
  const project = { ...status.latest(cached), spec: cached.spec };
  const owned = new Map<string, Service>();
  for (const service of observed.values()) {
    const name = service.metadata.labels?.[labels.service];
    if (name !== undefined && isControlledBy(service, project)) owned.set(name, service);
  }
  const { namespace = '', name } = project.metadata;
  const moves = options.proposals?.(namespace, name) ?? [];
  const next = projectStatus(
    project,
    { ...facts, services: owned, moves },
    wholeSecondsTime(clock.now()),
  );
  if (!(await status.write(project, next, signal))) return undefined;
  const stalled = findCondition(next.conditions, 'Stalled');
  const before = findCondition(project.status?.conditions, 'Stalled');
  if (stalled?.status === 'True' && before?.reason !== stalled.reason) {
    events.record(project, 'Warning', stalled.reason, stalled.message);
  }
  const ready = findCondition(next.conditions, 'Ready');
  if (
    ready?.status === 'True' &&
    findCondition(project.status?.conditions, 'Ready')?.status !== 'True'
  ) {
    events.record(project, 'Normal', 'Ready', ready.message);
  }
  return undefined;
}

/** The Services of the project's namespace, by name: its own, and those whose name it may need. */
function servicesAround(
  project: Project,
  store: ReadonlyObjectStore<Service>,
): Map<string, Service> {
  const around = new Map<string, Service>();
  for (const service of store.byIndex('controller', project.metadata.uid ?? '')) {
    around.set(service.metadata.name, service);
  }
  const { namespace } = project.metadata;
  for (const name of serviceNames(project)) {
    const service = store.get({
      ...(namespace === undefined ? {} : { namespace }),
      name: `${project.metadata.name}-${name}`,
    });
    if (service !== undefined) around.set(service.metadata.name, service);
  }
  return around;
}

function stepName(step: ProjectStep): string {
  return `${step.type} ${step.service.metadata.name}`;
}
