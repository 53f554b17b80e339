import type { Project, ProjectStatus } from '../../api/v1alpha1/project.ts';
import type { Service } from '../../api/v1alpha1/service.ts';
import { findCondition, isTrue } from '../../kube/conditions.ts';
import { clip, mergeConditions, type ConditionClaim } from '../conditions.ts';
import { gateReport, type Gate } from './pre-deploy.ts';
import { previousConditions, routed } from '../routes/status.ts';
import type { Release, Revision } from './release.ts';
import { isCurrent, revisionOf } from './release-facts.ts';
import { askedReplicas, serviceNames, type NameClash } from './plan.ts';

/** What is known of a project. */
export interface ProjectFacts {
  /** What would make hosts more equal. */
  readonly moves?: readonly string[];
  /** Why the spec cannot be acted upon, with the field's path. Its services then stay as they are. */
  readonly invalid?: string;
  readonly clashes: readonly NameClash[];
  /** Which revision runs, and why. Absent when that cannot be told, or nothing is done for the time being. */
  readonly release?: Pick<Release, 'revision' | 'wanted' | 'fallback'>;
  /** The pre-deploy job that the revision waits for. */
  readonly gate?: Gate;
  /** All that are kept. */
  readonly revisions?: readonly Revision[];
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
    const wanted = wantedInstances(service) ?? askedReplicas(project, name) ?? 1;
    instances += wanted;
    readyInstances += Math.min(service?.status?.readyReplicas ?? 0, wanted);
  }
  const summary = released(
    project,
    facts,
    summarise(project, names, facts, readyServices),
    updatedInstances(project, names, facts),
  );
  const claimed = claims(summary, names, facts);
  return {
    ...(generation === undefined ? {} : { observedGeneration: generation }),
    state: summary.state,
    services: `${String(readyServices)}/${String(names.length)}`,
    instances: `${String(readyInstances)}/${String(instances)}`,
    ...urlOf(names, facts),
    ...revisionFields(project, facts),
    ...(facts.moves === undefined || facts.moves.length === 0
      ? {}
      : { rebalance: [...facts.moves] }),
    conditions: mergeConditions(
      previousConditions(project.status?.conditions, claimed),
      claimed,
      generation,
      now,
    ),
  };
}

/** Where the application is found first: the first route of the first service that has one. */
function urlOf(names: readonly string[], facts: ProjectFacts): Pick<ProjectStatus, 'url'> {
  const [url] = names.flatMap((name) => facts.services.get(name)?.status?.urls ?? []);
  return url === undefined ? {} : { url };
}

/** "3/6": instances that run the revision, of all. */
function updatedInstances(project: Project, names: readonly string[], facts: ProjectFacts): string {
  let updated = 0;
  let all = 0;
  for (const name of names) {
    const service = facts.services.get(name);
    const wanted = wantedInstances(service) ?? askedReplicas(project, name) ?? 1;
    all += wanted;
    if (service === undefined || !isCurrent(service)) continue;
    if (facts.release !== undefined && revisionOf(service) !== facts.release.revision) continue;
    updated += Math.min(service.status?.updatedReplicas ?? 0, wanted);
  }
  return `${String(updated)}/${String(all)}`;
}

/** The summary with what there is to say about the release. */
function released(
  project: Project,
  { release, invalid, gate, services }: ProjectFacts,
  summary: Summary,
  updated: string,
): Summary {
  if (project.metadata.deletionTimestamp !== undefined || invalid !== undefined) return summary;
  if (project.spec.paused === true) {
    const message = `paused: changes wait; ${summary.message}`;
    return { ...summary, state: 'Paused', reconciling: false, message };
  }
  const { fallback } = release ?? {};
  if (release !== undefined && fallback === undefined && gate !== undefined) {
    const report = gateReport(gate, services.get(gate.service));
    const how = report.type === 'running' ? report.message : report.type;
    return {
      state: 'PreDeploy',
      ready: false,
      reconciling: true,
      stalled: false,
      reason: 'PreDeploy',
      message: `revision ${String(release.revision)} waits for its pre-deploy job ${gate.service}: ${how}`,
    };
  }
  if (release === undefined || fallback === undefined) {
    return summary.state === 'Updating' ? { ...summary, state: `Updating ${updated}` } : summary;
  }
  const { message } = fallback;
  if (!fallback.running) return { ...summary, ready: false, stalled: true, message };
  return {
    state: summary.ready ? 'RolledBack' : `RollingBack ${updated}`,
    ready: false,
    reconciling: !summary.ready,
    stalled: true,
    reason: 'RolledBack',
    message: summary.ready ? message : `${message}; ${summary.message}`,
  };
}

function revisionFields(
  project: Project,
  { release, revisions }: ProjectFacts,
): Pick<ProjectStatus, 'revision' | 'revisions'> {
  const revision = release?.revision ?? project.status?.revision;
  const listed = (revisions ?? []).map(({ number, createdAt, readyAt, failed }) => ({
    number,
    createdAt,
    state: failed !== undefined ? 'Failed' : readyAt !== undefined ? 'Ready' : 'New',
  }));
  return {
    ...(revision === undefined ? {} : { revision }),
    ...(revisions === undefined ? {} : { revisions: listed }),
  };
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
  result.push(...routesClaim(names, facts));
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

/** How the routes of all services stand; nothing while none has any. */
function routesClaim(names: readonly string[], facts: ProjectFacts): ConditionClaim[] {
  const all = names.flatMap((name) => {
    const service = facts.services.get(name);
    const condition = findCondition(service?.status?.conditions, routed);
    return condition === undefined ? [] : [{ name, condition }];
  });
  const [bad] = all.filter(({ condition }) => condition.status !== 'True');
  if (all.length === 0) return [];
  const said = all
    .filter(({ condition }) => bad === undefined || condition.status !== 'True')
    .slice(0, maxNamed)
    .map(({ name, condition }) => `${name}: ${clip(condition.message, maxPerService)}`);
  const status = bad === undefined ? 'True' : 'False';
  return [
    { type: routed, status, reason: bad?.condition.reason ?? 'Routed', message: said.join('; ') },
  ];
}

/** Instances that a service has to have: of a global one as many as there are hosts for it. */
function wantedInstances(service: Service | undefined): number | undefined {
  if (service?.spec.schedule !== undefined) return 0;
  if (service?.spec.type === 'oneshot' && service.spec.remainAfterExit !== true) {
    // What is completed counts for nothing.
    return Math.max(0, (service.spec.replicas ?? 1) - (service.status?.succeeded ?? 0));
  }
  if (service?.spec.placement?.global !== true) return service?.spec.replicas;
  const { replicas = 0, instances = [] } = service.status ?? {};
  return replicas - instances.filter(({ phase }) => phase === 'Lost').length;
}
