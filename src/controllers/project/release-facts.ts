import { labels, revisionAnnotation, runAnnotation } from '../../api/v1alpha1/group.ts';
import { ownedServiceName } from '../../api/v1alpha1/names.ts';
import type { Project } from '../../api/v1alpha1/project.ts';
import type { Service } from '../../api/v1alpha1/service.ts';
import { findCondition } from '../../kube/conditions.ts';
import { isTrue } from '../../kube/conditions.ts';
import { updateFailed } from '../service/status.ts';
import { isControlledBy, serviceNames } from './plan.ts';
import { gateOf, gateReport } from './pre-deploy.ts';
import type { ReleaseFacts, Revision } from './release.ts';

/** Revision that the Service was made from, as its Project has noted there. */
export function revisionOf(service: Service): number | undefined {
  const number = Number(service.metadata.annotations?.[revisionAnnotation]);
  return Number.isSafeInteger(number) && number > 0 ? number : undefined;
}

/** Whether the Service's status was computed from its present spec. */
export function isCurrent(service: Service): boolean {
  return service.status?.observedGeneration === service.metadata.generation;
}

/** What the pre-deploy job of a revision says, if it is under way; undefined: nothing. */
function openGate(
  project: Project,
  revision: Revision,
  observed: ReadonlyMap<string, Service>,
): Pick<ReleaseFacts, 'failure' | 'preDeployed'> | undefined {
  const gate = gateOf(revision.spec, revision);
  if (gate === undefined || gate.passed) return undefined;
  const name = ownedServiceName(project.metadata.name, gate.service);
  const report = gateReport(gate, observed.get(name));
  if (report.type === 'passed') return { preDeployed: revision.number };
  if (report.type === 'running') return undefined;
  const { service, message } = report;
  return { failure: { revision: revision.number, service, message } };
}

/** What a project's Services say about the revision that they run. Pure. */
export function releaseFacts(
  project: Project,
  observed: ReadonlyMap<string, Service>,
  revisions: readonly Revision[] = [],
): Omit<ReleaseFacts, 'revisions'> {
  const owned = [...observed.values()].filter((service) => isControlledBy(service, project));
  const gates = revisions.flatMap((revision) => openGate(project, revision, observed) ?? []);
  for (const { failure, preDeployed } of gates) {
    if (failure !== undefined) return { failure };
    if (preDeployed !== undefined) return { preDeployed };
  }
  for (const service of owned) {
    // It speaks of another run.
    if (service.metadata.annotations?.[runAnnotation] !== service.status?.run) continue;
    const stalled = findCondition(service.status?.conditions, 'Stalled');
    const revision = revisionOf(service);
    if (revision === undefined || !isCurrent(service)) continue;
    if (stalled?.status !== 'True' || stalled.reason !== updateFailed) continue;
    const name = service.metadata.labels?.[labels.service] ?? service.metadata.name;
    return { failure: { revision, service: name, message: stalled.message } };
  }
  const [revision, ...others] = new Set(owned.map(revisionOf));
  const ready =
    revision !== undefined &&
    others.length === 0 &&
    owned.length > 0 &&
    owned.length >= serviceNames(project).length &&
    owned.every(
      (service) =>
        isCurrent(service) &&
        isTrue(service.status?.conditions, 'Ready') &&
        !isTrue(service.status?.conditions, 'Reconciling'),
    );
  return ready ? { ready: revision } : {};
}
