import { parseSeat } from '../../api/v1alpha1/seat.ts';
import { instanceName } from '../../api/v1alpha1/names.ts';
import type { InstanceRecord } from '../../registry/records/instance.ts';
import type { InstanceBook, PlacementBook } from '../placement/book.ts';
import type { Outcome } from '../placement/loop.ts';
import type { RunFacts } from '../placement/runs.ts';
import type { HostStanding, InstanceState, Placed } from '../placement/types.ts';
import { serviceRecords } from '../../registry/records/service.ts';
import type { MeshPortBook } from '../mesh-port-book.ts';
import type { VirtualIpBook } from '../virtual-ip-book.ts';
import type { RouteFacts } from '../routes/status.ts';
import type { ServiceWish } from './desired.ts';
import type { RunReport, ScheduleReport } from './run-status.ts';
import type { InstanceReport, ServiceFacts } from './status.ts';
import { runAnnotation } from '../../api/v1alpha1/group.ts';

/** Where the facts about a service come from. */
export interface FactSources {
  readonly book: PlacementBook;
  readonly instances: InstanceBook;
  outcome(key: string): Outcome;
  /** What the last pass over the service's placements acted upon; undefined: none yet. */
  actedUpon(key: string): ServiceWish['want'] | undefined;
  stateOf(key: string, placed: Placed): InstanceState;
  standing(host: string): HostStanding;
  readonly virtualIps: Pick<VirtualIpBook, 'addressOf' | 'problemOf'>;
  /** How the run of a service stands that runs to its end. Default: none does. */
  runOf?(wish: ServiceWish): RunFacts | undefined;
  readonly meshPorts: Pick<MeshPortBook, 'problemOf'>;
  /** Of a global service: the numbers of the instances that count. Default: there is none. */
  wanted?(key: string): ReadonlySet<number> | undefined;
  /** How its routes stand. Default: it has none. */
  routes?(key: string): RouteFacts | undefined;
}

/** What is known of a service now. */
export function factsOf(
  wish: ServiceWish,
  from: FactSources,
  schedule?: ScheduleReport,
): ServiceFacts {
  const { want, key } = wish;
  const run = from.runOf?.(wish);
  const outcome = from.outcome(key);
  const placed = from.book.ofService(key);
  // An invalid spec says nothing reliable: what is there is what there is.
  const asked =
    want.type === 'run'
      ? want.instances.replicas
      : want.type === 'remove'
        ? 0
        : (wish.object.spec.replicas ?? 1);
  // Of a global service those on the hosts that there are; before the first pass over it, those that are placed.
  const isGlobal = want.type === 'run' && want.global === true;
  const numbers = isGlobal
    ? (from.wanted?.(key) ?? new Set(placed.map((p) => p.ordinal)))
    : undefined;
  const replicas = numbers?.size ?? asked;
  const isWanted = (ordinal: number): boolean => numbers?.has(ordinal) ?? ordinal <= replicas;
  const ordered = orderText(outcome);
  const reports: InstanceReport[] = [];
  const seen = new Set<number>();
  for (const [ordinal, several] of byOrdinal(placed)) {
    seen.add(ordinal);
    const report = several.map((p) => placedReport(wish, p, from, outcome, run)).reduce(asOne);
    reports.push(numbers === undefined ? report : { ...report, wanted: isWanted(ordinal) });
  }
  let leaving = reports.filter(
    // What a global service has on a lost host waits for the host.
    ({ ordinal, phase }) => !isWanted(ordinal) && !(isGlobal && phase === 'Lost'),
  ).length;
  // Instances whose placement is gone, and which their agents still see.
  for (const { key: at, record } of from.instances.ofService(key)) {
    const seat = parseSeat(at.ordinal);
    if (seat === undefined) continue;
    const { ordinal } = seat;
    if (
      placed.some(
        (p) => p.ordinal === ordinal && p.host === at.host && (p.second === true) === seat.second,
      )
    )
      continue;
    leaving++;
    if (seen.has(ordinal)) continue;
    seen.add(ordinal);
    reports.push({
      ...common(wish, ordinal, at.host, record),
      phase: record.phase,
      ready: false,
      state: 'starting',
      updated: false,
      reason: 'Leaving',
    });
  }
  const blocked = want.type === 'run' ? want.blocked : undefined;
  if (want.type === 'run') {
    const pending = outcome.unplaced;
    let waiting = 0;
    for (const ordinal of numbers ?? upTo(replicas)) {
      if (seen.has(ordinal) || run?.succeeded.has(ordinal) === true) continue;
      if (run !== undefined && ++waiting > mostWaiting) break;
      reports.push({
        name: nameOf(wish, ordinal),
        ordinal,
        phase: 'Pending',
        ready: false,
        restarts: 0,
        updated: false,
        ...(numbers === undefined ? {} : { wanted: true }),
        ...(pending === undefined ? {} : { reason: 'Unschedulable' }),
        ...(blocked ?? ordered),
      });
    }
  }
  reports.sort((a, b) => a.ordinal - b.ordinal);
  const unschedulable = unschedulableText(outcome, replicas);
  const roll = rollOf(outcome);
  const path = serviceRecords.path(wish.identity);
  const virtualIP = from.virtualIps.addressOf(path);
  const unaddressed = from.virtualIps.problemOf(path);
  const routes = from.routes?.(key);
  const unpublished = from.meshPorts.problemOf(path);
  return {
    replicas,
    instances: reports,
    leaving,
    deleting: want.type === 'remove',
    behind: from.actedUpon(key) !== want,
    ...(want.type === 'invalid' ? { invalid: want.message } : {}),
    ...(blocked === undefined ? {} : { blocked }),
    ...(outcome.order?.stopped === undefined ? {} : { stopped: outcome.order.stopped }),
    ...(unschedulable === undefined ? {} : { unschedulable }),
    ...(roll === undefined ? {} : { roll }),
    ...(virtualIP === undefined ? {} : { virtualIP }),
    ...(unaddressed === undefined ? {} : { unaddressed }),
    ...(unpublished === undefined ? {} : { unpublished }),
    ...(run === undefined ? {} : { run: runReport(wish, run, reports) }),
    ...(schedule === undefined ? {} : { schedule }),
    ...(routes === undefined ? {} : { routes }),
  };
}

/** Most instances listed of those that a job has not come to yet. */
const mostWaiting = 50;

function runReport(
  { object, want }: ServiceWish,
  { verdict, record, succeeded }: RunFacts,
  reports: readonly InstanceReport[],
): RunReport {
  const id = object.metadata.annotations?.[runAnnotation];
  const instances = want.type === 'run' ? want.instances : undefined;
  return {
    ...(id === undefined ? {} : { id }),
    succeeded: succeeded.size,
    failures: record?.failures.length ?? 0,
    active: reports.filter(
      ({ state, reason }) =>
        state !== undefined && state !== 'done' && state !== 'failed' && reason !== 'Leaving',
    ).length,
    complete: verdict.type === 'complete',
    ...(verdict.type === 'failed'
      ? { failed: { reason: verdict.reason, message: verdict.message } }
      : {}),
    remains: instances?.oneshot?.remains === true,
    rollsBack: instances?.update?.failureAction === 'rollback',
    ...(record === undefined ? {} : { startedAt: record.startedAt }),
    ...(record?.completedAt === undefined ? {} : { completedAt: record.completedAt }),
  };
}

function* upTo(last: number): Generator<number> {
  for (let ordinal = 1; ordinal <= last; ordinal++) yield ordinal;
}

function byOrdinal(placed: readonly Placed[]): Map<number, Placed[]> {
  const map = new Map<number, Placed[]>();
  for (const p of placed) {
    if (!Number.isFinite(p.ordinal)) continue;
    const list = map.get(p.ordinal);
    if (list === undefined) map.set(p.ordinal, [p]);
    else list.push(p);
  }
  return map;
}

/** Two instances of one ordinal, in an update, as one: what serves is shown, with how the other one does. */
function asOne(a: InstanceReport, b: InstanceReport): InstanceReport {
  const worth = (r: InstanceReport): number => (r.ready ? 2 : 0) + (r.updated ? 1 : 0);
  const [shown, other] = worth(b) > worth(a) ? [b, a] : [a, b];
  if (shown.updated || !other.updated) return shown;
  const how = [other.phase, other.reason, other.message].filter((t) => t !== undefined && t !== '');
  return {
    ...shown,
    reason: 'Updating',
    message: `its successor on ${other.host ?? '?'}: ${how.join(', ')}`,
  };
}

function placedReport(
  wish: ServiceWish,
  p: Placed,
  from: FactSources,
  outcome: Outcome,
  run: RunFacts | undefined,
): InstanceReport {
  const { want, key } = wish;
  const record = from.instances.of(key, p);
  const mine = record?.id === p.record?.id ? record : undefined;
  const standing = from.standing(p.host);
  const wanted =
    want.type === 'run' && (want.global === true || p.ordinal <= want.instances.replicas);
  // One that is blocked has nothing newer to be compared with.
  const updated =
    wanted &&
    (want.blocked !== undefined ||
      p.record?.specHash === want.instances.instance(p.ordinal).specHash);
  const isDone = run?.succeeded.has(p.ordinal) === true && p.record?.finished === true;
  const state = isDone ? 'done' : from.stateOf(key, p);
  const base = { ...common(wish, p.ordinal, p.host, mine), state, updated };
  if (standing === 'lost') {
    return {
      ...base,
      phase: 'Lost',
      ready: false,
      state: 'unknown',
      reason: 'HostLost',
      message: outcome.held?.message ?? `host ${p.host} is lost`,
    };
  }
  if (mine === undefined && p.record?.finished === true) {
    return { ...base, phase: 'Exited', ready: false };
  }
  if (mine === undefined) {
    const away = standing === 'absent';
    return {
      ...base,
      phase: 'Placed',
      ready: false,
      ...(away ? { reason: 'HostAbsent', message: `host ${p.host} does not answer` } : {}),
    };
  }
  return {
    ...base,
    phase: mine.phase,
    // What runs to its end is there when it has got there, if at all.
    ready: isOneshot(p) ? remains(wish) && state === 'done' : mine.ready,
    ...(mine.reason === undefined ? {} : { reason: mine.reason }),
    ...(mine.message === undefined ? {} : { message: mine.message }),
  };
}

function isOneshot({ record }: Placed): boolean {
  return record?.container.oneshot === true;
}

function remains({ object }: ServiceWish): boolean {
  return object.spec.remainAfterExit === true;
}

function common(
  wish: ServiceWish,
  ordinal: number,
  host: string,
  record: InstanceRecord | undefined,
): Pick<InstanceReport, 'name' | 'ordinal' | 'host' | 'ip' | 'restarts' | 'health' | 'flaps'> {
  return {
    name: nameOf(wish, ordinal),
    ordinal,
    host,
    restarts: record?.restarts ?? 0,
    ...(record?.ip === undefined ? {} : { ip: record.ip }),
    ...(record?.health === undefined ? {} : { health: record.health }),
    ...(record?.flaps === undefined ? {} : { flaps: record.flaps }),
  };
}

function nameOf(wish: ServiceWish, ordinal: number): string {
  return instanceName({ ...wish.identity, ordinal: String(ordinal) });
}

function unschedulableText(outcome: Outcome, replicas: number): string | undefined {
  const { unplaced, held } = outcome;
  if (unplaced !== undefined && unplaced.pending > 0) {
    return `${String(unplaced.pending)} of ${String(replicas)} pending: ${unplaced.explanation}`;
  }
  return held === undefined
    ? undefined
    : `${String(held.count)} of ${String(replicas)} wait on lost hosts: ${held.message}`;
}

/** Why an ordinal has no instance although there may be room for one. */
function orderText({ order }: Outcome): { reason: string; message: string } | undefined {
  if (order?.stopped !== undefined) return { reason: 'Stopped', message: order.stopped };
  if (order?.waitsFor !== undefined) return { reason: 'WaitingFor', message: order.waitsFor };
  return undefined;
}

function rollOf(outcome: Outcome): Outcome['roll'] {
  const { roll, unplaced } = outcome;
  // What cannot leave a host that is being emptied serves as well as ever; the host says what keeps it.
  if (unplaced?.evicted !== undefined && unplaced.staying === 0) return undefined;
  if (unplaced === undefined || unplaced.staying === 0) return roll;
  return {
    state: 'stopped',
    message: `${String(unplaced.staying)} instances cannot be replaced and stay as they are: ${unplaced.explanation}`,
  };
}
