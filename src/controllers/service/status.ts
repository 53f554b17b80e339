import { labels } from '../../api/v1alpha1/group.ts';
import type { InstanceStatus, Service, ServiceStatus } from '../../api/v1alpha1/service.ts';
import { clip, mergeConditions, type ConditionClaim } from '../conditions.ts';
import type { RollState } from '../placement/roll.ts';
import type { InstanceState } from '../placement/types.ts';
import {
  endClaims,
  endConditions,
  runFields,
  runText,
  scheduleText,
  type RunReport,
  type ScheduleReport,
} from './run-status.ts';
import { previousConditions, routeStatus, type RouteFacts } from '../routes/status.ts';

/** Most entries of status.instances. With all strings cut this keeps an object below 400 kB; etcd takes 1.5 MB. */
export const maxListedInstances = 500;
/** Reason of the condition Stalled when the project has to go back to an earlier revision. */
export const updateFailed = 'UpdateFailed';
const maxInstanceMessage = 300;
/** An instance's own words are not bounded by anybody before us. */
const maxSummary = 1_000;

/** One ordinal as the status computation sees it. `state` is absent for one that has no host. */
export interface InstanceReport extends InstanceStatus {
  readonly state?: InstanceState;
  /** It runs the present spec. */
  readonly updated: boolean;
  /** It counts as one of the instances that have to be. Absent: its number says so. */
  readonly wanted?: boolean;
}

/** What is known of a service. */
export interface ServiceFacts {
  readonly replicas: number;
  /** In the order of ordinals; those beyond `replicas` are on their way out. */
  readonly instances: readonly InstanceReport[];
  /** Instances that exist but are not wanted any more. */
  readonly leaving: number;
  /** Why nothing of it can be made anew: a config that is missing. What runs stays. */
  readonly blocked?: { readonly reason: string; readonly message: string };
  /** The scheduler's sentence for the instances that have no host. */
  readonly unschedulable?: string;
  readonly roll?: RollState;
  readonly virtualIP?: string;
  /** Why it has no virtual IP, though it should. */
  readonly unaddressed?: { readonly reason: string; readonly message: string };
  /** Of one that runs to its end. */
  readonly run?: RunReport;
  /** Of one that runs at times. */
  readonly schedule?: ScheduleReport;
  /** Why not all of its ports are published on every host. */
  readonly unpublished?: { readonly reason: string; readonly message: string };
  /** Why none of it may run now, as its bonds to other services say. */
  readonly stopped?: string;
  /** Why the spec cannot be acted upon, with the field's path. */
  readonly invalid?: string;
  /** How its routes stand; absent: it has none. */
  readonly routes?: RouteFacts;
  /** The placements have not been looked at since the spec changed. */
  readonly behind: boolean;
  readonly deleting: boolean;
}

/** The status of a Service. Pure. @param now RFC 3339 */
export function serviceStatus(service: Service, facts: ServiceFacts, now: string): ServiceStatus {
  const wasClaimed = (condition: string): boolean =>
    service.status?.conditions?.some(({ type }) => type === condition) === true;
  const wanted = facts.instances.filter((i) => i.wanted ?? i.ordinal <= facts.replicas);
  const { run } = facts;
  const done = run?.succeeded ?? wanted.filter((i) => i.state === 'done').length;
  const ready = run?.remains === true ? done : wanted.filter((i) => i.ready).length;
  // What is completed is neither missing nor there.
  const expected = run === undefined || run.remains ? facts.replicas : facts.replicas - done;
  const existing = facts.instances.filter((i) => i.state !== undefined).length;
  const summary = summarise(facts, wanted, ready, done);
  const { generation } = service.metadata;
  const project = service.metadata.labels?.[labels.project];
  const listed = list(facts.instances);
  const { urls, claims: routeClaims } = routeStatus(facts.deleting ? undefined : facts.routes);
  return {
    ...(generation === undefined ? {} : { observedGeneration: generation }),
    replicas: existing,
    readyReplicas: ready,
    readyInstances: `${String(ready)}/${String(expected)}`,
    ...(facts.virtualIP === undefined ? {} : { virtualIP: facts.virtualIP }),
    updatedReplicas: updatedOf(wanted, run),
    selector:
      project === undefined
        ? `${labels.service}=${service.metadata.name}`
        : `${labels.project}=${project},${labels.service}=${service.metadata.labels?.[labels.service] ?? service.metadata.name}`,
    state: summary.state,
    ...runFields(run, facts.replicas),
    ...(facts.schedule === undefined ? {} : { schedule: facts.schedule.status }),
    ...(urls === undefined ? {} : { urls: [...urls] }),
    conditions: mergeConditions(
      previousConditions(service.status?.conditions, routeClaims)?.filter(
        ({ type }) => run !== undefined || !endConditions.has(type),
      ),
      [
        ...claims(facts, summary, listed.omitted),
        ...addressClaims(facts, wasClaimed(addressCondition)),
        ...publishClaims(facts, wasClaimed(publishCondition)),
        ...routeClaims,
      ],
      generation,
      now,
    ),
    instances: listed.entries,
  };
}

function updatedOf(wanted: readonly InstanceReport[], run: RunReport | undefined): number {
  const updated = wanted.filter((i) => i.updated && i.state !== undefined);
  if (run === undefined) return updated.length;
  return run.succeeded + updated.filter((i) => i.state !== 'done').length;
}

interface Summary {
  readonly state: string;
  readonly ready: boolean;
  readonly reconciling: boolean;
  readonly stalled: boolean;
  readonly reason: string;
  readonly message: string;
}

/** One word and one sentence for the whole; the first thing that applies is said. */
function summarise(
  facts: ServiceFacts,
  wanted: readonly InstanceReport[],
  ready: number,
  done: number,
): Summary {
  const count = `${String(ready)}/${String(facts.replicas)} instances ready`;
  const say = (
    state: string,
    reason: string,
    message: string,
    flags: Partial<Pick<Summary, 'ready' | 'reconciling' | 'stalled'>>,
  ): Summary => ({
    state,
    reason,
    message,
    ready: false,
    reconciling: false,
    stalled: false,
    ...flags,
  });
  if (facts.deleting) {
    const left = facts.instances.filter((i) => i.state !== undefined).length;
    return say('Deleting', 'Deleting', `${String(left)} instances left on hosts`, {
      reconciling: true,
    });
  }
  if (facts.invalid !== undefined) {
    return say('Invalid', 'InvalidSpec', facts.invalid, { stalled: true });
  }
  if (facts.behind) {
    const word = wanted.some((i) => i.state !== undefined) ? 'Updating' : 'Starting';
    return say(word, 'Deciding', `${count}; the change is being acted upon`, { reconciling: true });
  }
  if (facts.stopped !== undefined) {
    const left = wanted.filter((i) => i.state !== undefined).length;
    return say('Stopped', 'Stopped', `stopped: ${facts.stopped}`, {
      ready: left === 0,
      reconciling: left > 0,
    });
  }
  const { run, schedule } = facts;
  if (schedule !== undefined) {
    const { suspended, status } = schedule;
    const word = suspended ? 'Suspended' : (status.active ?? 0) > 0 ? 'Active' : 'Scheduled';
    return say(word, suspended ? 'Suspended' : 'Scheduled', scheduleText(schedule), {
      ready: true,
    });
  }
  if (run?.complete === true) {
    const word = run.remains ? 'Active' : 'Completed';
    return say(word, 'Completed', 'all instances ended with success', { ready: true });
  }
  if (run?.failed !== undefined) {
    const { reason, message } = run.failed;
    return say(
      'Failed',
      run.rollsBack ? updateFailed : reason,
      `${runText(run, facts.replicas)}; ${message}`,
      {
        stalled: true,
      },
    );
  }
  if (facts.roll?.state === 'failed') {
    return say('Failed', updateFailed, facts.roll.message, { stalled: true });
  }
  if (facts.roll?.state === 'paused') {
    const all = ready + done >= facts.replicas;
    return say('Paused', 'UpdatePaused', `${count}; ${facts.roll.message}`, { ready: all });
  }
  if (facts.roll?.state === 'stopped') {
    return say('Failed', 'UpdateStopped', facts.roll.message, { stalled: true });
  }
  const failed = run === undefined ? wanted.find((i) => i.state === 'failed') : undefined;
  if (failed !== undefined) {
    const why = [failed.reason, failed.message]
      .filter((t) => t !== undefined && t !== '')
      .join(': ');
    const more = wanted.filter((i) => i.state === 'failed').length - 1;
    return say(
      ready > 0 ? 'Degraded' : 'Failed',
      failed.reason ?? 'InstanceFailed',
      `${count}; ${failed.name} on ${failed.host ?? '?'}: ${why === '' ? failed.phase : why}${more > 0 ? ` (and ${String(more)} more)` : ''}`,
      { reconciling: true },
    );
  }
  if (facts.blocked !== undefined && ready + done < facts.replicas) {
    return say('Pending', facts.blocked.reason, `${count}; ${facts.blocked.message}`, {
      reconciling: true,
    });
  }
  if (facts.unschedulable !== undefined) {
    return say('Pending', 'Unschedulable', `${count}; ${facts.unschedulable}`, {
      reconciling: true,
    });
  }
  if (facts.roll !== undefined) {
    return say('Updating', 'Updating', `${count}; ${facts.roll.message}`, {
      reconciling: true,
    });
  }
  if (run !== undefined) {
    const late = wanted.find((i) => i.state !== 'done' && i.reason !== undefined);
    const detail =
      late === undefined
        ? ''
        : `; ${late.name}: ${[late.reason, late.message].filter((t) => t !== undefined && t !== '').join(', ')}`;
    const word = run.active > 0 ? 'Running' : 'Pending';
    return say(word, word, runText(run, facts.replicas) + detail, { reconciling: true });
  }
  if (ready + done < facts.replicas) {
    const late = wanted.find((i) => !i.ready && i.state !== 'done');
    const detail =
      late === undefined
        ? ''
        : `; ${late.name}: ${[late.phase, late.reason, late.message].filter((t) => t !== undefined && t !== '').join(', ')}`;
    return say('Starting', 'InstancesNotReady', count + detail, { reconciling: true });
  }
  if (facts.leaving > 0) {
    return say('ScalingDown', 'ScalingDown', `${count}; ${String(facts.leaving)} leaving`, {
      ready: true,
      reconciling: true,
    });
  }
  if (facts.replicas > 0 && done === facts.replicas) {
    return say('Completed', 'Completed', 'all instances ended with success', { ready: true });
  }
  const note =
    facts.blocked === undefined ? '' : `; none can be made anew: ${facts.blocked.message}`;
  return say('Running', 'AllReady', count + note, { ready: true });
}

function claims(facts: ServiceFacts, summary: Summary, omitted: number): ConditionClaim[] {
  const { reason } = summary;
  const note =
    omitted > 0
      ? ` (status.instances shows ${String(maxListedInstances)} of ${String(maxListedInstances + omitted)})`
      : '';
  const message = clip(summary.message, maxSummary) + note;
  const flag = (type: string, is: boolean): ConditionClaim =>
    is
      ? { type, status: 'True', reason, message }
      : { type, status: 'False', reason: 'AsExpected', message: '' };
  const result: ConditionClaim[] = [
    { type: 'Ready', status: summary.ready ? 'True' : 'False', reason, message },
    flag('Reconciling', summary.reconciling),
    flag('Stalled', summary.stalled),
  ];
  if (facts.invalid !== undefined || facts.deleting) return result;
  if (facts.run !== undefined) result.push(...endClaims(facts.run, message));
  const hostless = facts.instances.some((i) => i.phase === 'Pending');
  if (facts.blocked !== undefined && hostless) {
    result.push({ type: 'Scheduled', status: 'False', ...facts.blocked });
    return result;
  }
  result.push(
    facts.unschedulable === undefined
      ? {
          type: 'Scheduled',
          status: 'True',
          reason: 'Scheduled',
          message: 'every instance has a host',
        }
      : {
          type: 'Scheduled',
          status: 'False',
          reason: 'Unschedulable',
          message: facts.unschedulable,
        },
  );
  return result;
}

const addressCondition = 'VirtualIP';
const publishCondition = 'Published';

/** Nothing is said of ports until one could not be published. */
function publishClaims({ unpublished }: ServiceFacts, wasClaimed: boolean): ConditionClaim[] {
  const type = publishCondition;
  if (unpublished !== undefined) return [{ type, status: 'False', ...unpublished }];
  if (!wasClaimed) return [];
  const message = 'every port that is wanted on every host is there';
  return [{ type, status: 'True', reason: 'Published', message }];
}

/** Nothing is said of virtual IPs until something was wrong with one. */
function addressClaims(facts: ServiceFacts, wasClaimed: boolean): ConditionClaim[] {
  const type = addressCondition;
  if (facts.unaddressed !== undefined) return [{ type, status: 'False', ...facts.unaddressed }];
  if (!wasClaimed) return [];
  const { virtualIP } = facts;
  return virtualIP === undefined
    ? [{ type, status: 'False', reason: 'NotWanted', message: 'its name means its instances' }]
    : [{ type, status: 'True', reason: 'Assigned', message: virtualIP }];
}

/** The entries to show: all if they are few, else first those with trouble, then those with a host, then the rest. */
function list(instances: readonly InstanceReport[]): {
  entries: InstanceStatus[];
  omitted: number;
} {
  const rank = (i: InstanceReport): number =>
    i.state === undefined ? 2 : i.ready || i.state === 'done' ? 1 : 0;
  const shown =
    instances.length <= maxListedInstances
      ? instances
      : instances
          .toSorted((a, b) => rank(a) - rank(b) || a.ordinal - b.ordinal)
          .slice(0, maxListedInstances)
          .sort((a, b) => a.ordinal - b.ordinal);
  return { entries: shown.map(entry), omitted: instances.length - shown.length };
}

function entry(report: InstanceReport): InstanceStatus {
  const { name, ordinal, host, ip, phase, ready, restarts, reason, message } = report;
  const { health, flaps } = report;
  return {
    name,
    ordinal,
    phase,
    ready,
    restarts,
    ...(host === undefined ? {} : { host }),
    ...(ip === undefined ? {} : { ip }),
    ...(health === undefined ? {} : { health }),
    ...(flaps === undefined ? {} : { flaps }),
    ...(reason === undefined ? {} : { reason }),
    ...(message === undefined || message === ''
      ? {}
      : { message: clip(message, maxInstanceMessage) }),
  };
}
