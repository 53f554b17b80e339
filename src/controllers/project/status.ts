import type { Project, ProjectStatus } from '../../api/v1alpha1/project.ts';
import type { Service } from '../../api/v1alpha1/service.ts';
import { isTrue } from '../../kube/conditions.ts';
import { clip, mergeConditions, type ConditionClaim } from '../conditions.ts';
import { askedReplicas, serviceNames, type NameClash } from './plan.ts';

/** What is known of a project. */
export interface ProjectFacts {
  /** Why the spec cannot be acted upon, with the field's path. Its services then stay as they are. */
  readonly invalid?: string;
  readonly clashes: readonly NameClash[];
  /** The Services that the project controls, by the service's name in the project. */
  readonly services: ReadonlyMap<string, Service>;
}

/** Longest part of a message that is about one service. */
const maxPerService = 500;
/** Most services that a message speaks of. */
const maxNamed = 5;

/** The status of a Project, from that of its Services. Pure. @param now RFC 3339 */
export function projectStatus(project: Project, facts: ProjectFacts, now: string): ProjectStatus {
  const { generation } = project.metadata;
  const names = serviceNames(project);
  let readyServices = 0;
  let readyInstances = 0;
  let instances = 0;
  for (const name of names) {
    const service = facts.services.get(name);
    if (service !== undefined && isCurrent(service) && isTrue(service.status?.conditions, 'Ready'))
      readyServices++;
    const wanted = service?.spec.replicas ?? askedReplicas(project, name) ?? 1;
    instances += wanted;
    readyInstances += Math.min(service?.status?.readyReplicas ?? 0, wanted);
  }
  const summary = summarise(project, names, facts, readyServices);
  return {
    ...(generation === undefined ? {} : { observedGeneration: generation }),
    state: summary.state,
    services: `${String(readyServices)}/${String(names.length)}`,
    instances: `${String(readyInstances)}/${String(instances)}`,
    conditions: mergeConditions(
      project.status?.conditions,
      claims(summary, names, facts),
      generation,
      now,
    ),
  };
}

/** Whether the Service's status was computed from its present spec. */
function isCurrent(service: Service): boolean {
  return service.status?.observedGeneration === service.metadata.generation;
}

interface Summary {
  readonly state: string;
  readonly ready: boolean;
  readonly reconciling: boolean;
  readonly stalled: boolean;
  readonly reason: string;
  readonly message: string;
}

/** The worst state of a service is the project's. */
const severity = [
  'Failed',
  'Invalid',
  'Degraded',
  'Pending',
  'Updating',
  'Starting',
  'Deleting',
  'ScalingDown',
];

function summarise(
  project: Project,
  names: readonly string[],
  facts: ProjectFacts,
  ready: number,
): Summary {
  const count = `${String(ready)}/${String(names.length)} services ready`;
  if (project.metadata.deletionTimestamp !== undefined) {
    return {
      state: 'Deleting',
      ready: false,
      reconciling: true,
      stalled: false,
      reason: 'Deleting',
      message: `${String(facts.services.size)} services left`,
    };
  }
  if (facts.invalid !== undefined) {
    return {
      state: 'Invalid',
      ready: false,
      reconciling: false,
      stalled: true,
      reason: 'InvalidSpec',
      message: `${facts.invalid}; what runs stays as it is`,
    };
  }
  const [clash] = facts.clashes;
  if (clash !== undefined) {
    return {
      state: 'Stalled',
      ready: false,
      reconciling: false,
      stalled: true,
      reason: 'NameTaken',
      message: facts.clashes.map(clashMessage).join('; '),
    };
  }
  const unready = names.filter((name) => {
    const service = facts.services.get(name);
    return (
      service === undefined || !isCurrent(service) || !isTrue(service.status?.conditions, 'Ready')
    );
  });
  const stalled = names.some((name) =>
    isTrue(facts.services.get(name)?.status?.conditions, 'Stalled'),
  );
  const busy = names.filter((name) => {
    const service = facts.services.get(name);
    return (
      service === undefined ||
      !isCurrent(service) ||
      isTrue(service.status?.conditions, 'Reconciling')
    );
  });
  const states = new Set(
    names.map((name) => facts.services.get(name)?.status?.state ?? 'Starting'),
  );
  const worst = severity.find((state) => states.has(state));
  const detail = (unready.length > 0 ? unready : busy)
    .slice(0, maxNamed)
    .map((name) => `${name}: ${clip(readyMessage(facts.services.get(name)), maxPerService)}`)
    .join('; ');
  const more = unready.length > maxNamed ? `; and ${String(unready.length - maxNamed)} more` : '';
  const message = detail === '' ? count : `${count}; ${detail}${more}`;
  const first = facts.services.get(unready[0] ?? '');
  return {
    state: worst ?? (unready.length > 0 ? 'Starting' : 'Running'),
    ready: unready.length === 0,
    reconciling: busy.length > 0,
    stalled,
    reason:
      unready.length === 0
        ? 'AllReady'
        : (first?.status?.conditions?.find((c) => c.type === 'Ready')?.reason ??
          'ServicesNotReady'),
    message,
  };
}

function readyMessage(service: Service | undefined): string {
  if (service === undefined) return 'not made yet';
  if (!isCurrent(service)) return 'change not acted upon yet';
  const condition =
    service.status?.conditions?.find((c) => c.type === 'Stalled' && c.status === 'True') ??
    service.status?.conditions?.find((c) => c.type === 'Ready');
  return condition?.message ?? 'no status yet';
}

function clashMessage(clash: NameClash): string {
  const owner = clash.owner === undefined ? 'belongs to no Project' : `belongs to ${clash.owner}`;
  return `service ${clash.service}: a Service named ${clash.objectName} exists already and ${owner}; rename or delete one of them`;
}

function claims(summary: Summary, names: readonly string[], facts: ProjectFacts): ConditionClaim[] {
  const { reason, message } = summary;
  const flag = (type: string, is: boolean): ConditionClaim =>
    is
      ? { type, status: 'True', reason, message }
      : { type, status: 'False', reason: 'AsExpected', message: '' };
  const result: ConditionClaim[] = [
    { type: 'Ready', status: summary.ready ? 'True' : 'False', reason, message },
    flag('Reconciling', summary.reconciling),
    flag('Stalled', summary.stalled),
  ];
  if (facts.invalid !== undefined || summary.state === 'Deleting') return result;
  const pending = names
    .map((name) => ({ name, service: facts.services.get(name) }))
    .map(({ name, service }) => ({
      name,
      condition: service?.status?.conditions?.find((c) => c.type === 'Scheduled'),
    }));
  const refused = pending.filter(({ condition }) => condition?.status === 'False');
  if (refused.length > 0) {
    result.push({
      type: 'Scheduled',
      status: 'False',
      reason: 'Unschedulable',
      message: refused
        .slice(0, maxNamed)
        .map(({ name, condition }) => `${name}: ${clip(condition?.message ?? '', maxPerService)}`)
        .join('; '),
    });
  } else if (pending.every(({ condition }) => condition?.status === 'True')) {
    result.push({
      type: 'Scheduled',
      status: 'True',
      reason: 'Scheduled',
      message: 'every instance has a host',
    });
  } else {
    result.push({
      type: 'Scheduled',
      status: 'Unknown',
      reason: 'NotYet',
      message: 'not every service has been looked at yet',
    });
  }
  return result;
}
