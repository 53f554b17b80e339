import { seatKey } from '../../api/v1alpha1/seat.ts';
import { hostRecords } from '../../registry/records/host.ts';
import { placementRecords, type PlacementRecord } from '../../registry/records/placement.ts';
import type { Condition, Operation } from '../../registry/store.ts';
import { hostPorts } from '../../scheduler/filters/host-ports.ts';
import { resources } from '../../scheduler/filters/resources.ts';
import { sealing } from '../../scheduler/filters/sealing.ts';
import {
  schedule,
  type ClusterState,
  type InstanceRequest,
  type OnlyHost,
} from '../../scheduler/index.ts';
import type { ServiceWish } from '../service/desired.ts';
import type { HostedKey, InstanceBook, PlacementBook } from './book.ts';
import { needsOf } from './demand.ts';
import { onlyHome, type Home } from './homes.ts';
import { newPlacement } from './plan.ts';
import type { Step } from './step.ts';
import type { DesiredInstance, DesiredInstances, Placed } from './types.ts';

/** The steps that a pass wants to take for one service. */
export interface Intent {
  readonly key: string;
  readonly identity: ServiceWish['identity'];
  /** Absent when everything of the service is to go. */
  readonly run?: Extract<ServiceWish['want'], { type: 'run' }>;
  readonly steps: readonly Step[];
}

/** One step with the host it found: writes that belong together. */
export interface Change {
  readonly key: string;
  readonly step: Step;
  /** Host of the new or rewritten instance. */
  readonly host?: string;
  readonly conditions: readonly Condition[];
  readonly operations: readonly Operation[];
  readonly put?: {
    readonly key: HostedKey;
    readonly path: string;
    readonly record: PlacementRecord;
  };
  readonly deleted?: string;
  /** Its volumes stay where nobody waits for them any more. */
  readonly leftBehind?: Home;
  /** Paths whose standing in the ClusterState was changed in advance. */
  readonly touched: readonly string[];
  /** Called when it is written. */
  readonly written?: () => void;
}

/** Steps of one service that found no host. */
export interface Unplaced {
  /** Ordinals that have no instance at all, or one on a lost host. */
  pending: number;
  /** Outdated or misplaced instances that stay where they are. */
  staying: number;
  /** Instances that are as wanted, and that cannot leave a host which is being emptied. */
  evicted?: number;
  /** The scheduler's sentence. */
  explanation: string;
}

export interface Allocation {
  readonly changes: readonly Change[];
  /** By serviceId. */
  readonly unplaced: ReadonlyMap<string, Unplaced>;
  /** Services, by serviceId, with more new instances than one pass may try, of which all that were tried found a host. */
  readonly unfinished: ReadonlySet<string>;
}

/**
 * New instances that one pass tries, over all services. A pass takes the whole thread: leases must be renewed between
 * passes, however many instances somebody asks for.
 */
const defaultCreatesPerPass = 4_000;
/** Each service gets so many at least, however many services share a pass. */
const leastCreates = 10;

export interface AllocateContext {
  readonly state: ClusterState;
  readonly book: PlacementBook;
  readonly instances: InstanceBook;
  readonly newId: () => string;
  /** RFC 3339 */
  readonly now: string;
  /** Of the random strategy. */
  readonly seed: number;
  /** Default 4,000; shared evenly by the services of the pass. */
  readonly createsPerPass?: number;
  /** Where an instance's data is. Default: nowhere in particular. */
  readonly homeOf?: (intent: Intent, ordinal: number) => Home | undefined;
}

interface Request extends InstanceRequest {
  readonly intent: Intent;
  readonly step: Extract<Step, { type: 'create' | 'replace' | 'accompany' }>;
  readonly record: PlacementRecord;
  readonly home?: Home;
}

/**
 * Finds hosts for all steps of a pass, and says what to write. The ClusterState is changed as if everything had been
 * written; who fails to write a change has to restore its `touched` paths. What is taken away is taken into account
 * before anything is placed, so room that one service gives up is there for another.
 */
export function allocate(intents: readonly Intent[], context: AllocateContext): Allocation {
  const { state, book } = context;
  const changes: Change[] = [];
  const requests: Request[] = [];
  const unplaced = new Map<string, Unplaced>();
  const later: {
    readonly intent: Intent;
    readonly step: Extract<Step, { type: 'replace' | 'accompany' }>;
  }[] = [];
  /** How many new instances of a service were left for another pass. */
  const left = new Map<string, number>();
  const share = createsOfEach(intents, context.createsPerPass ?? defaultCreatesPerPass);
  for (const intent of intents) {
    let creates = 0;
    for (const step of intent.steps) {
      if (step.type === 'create' && ++creates > share) {
        left.set(intent.key, creates - share);
      } else if (step.type === 'remove') {
        changes.push(removal(intent, step, state));
      } else if (intent.run === undefined) {
        continue;
      } else if (step.type === 'rewrite') {
        changes.push(rewriting(intent, intent.run.instances, step, context));
      } else if (step.type === 'replace') {
        state.unplace(step.placed.path);
        later.push({ intent, step });
      } else if (step.type === 'accompany') {
        later.push({ intent, step });
      } else if (step.type === 'finish') {
        changes.push(finishing(intent, intent.run.instances, step, state));
      } else {
        requests.push(request(intent, intent.run, step, context));
      }
    }
  }
  for (const { intent, step } of later) {
    if (intent.run === undefined) continue;
    const wanted = request(intent, intent.run, step, context);
    if (step.stay && fitsOn(step.placed.host, wanted, state)) {
      changes.push(placing(wanted, step.placed.host, state));
    } else requests.push(wanted);
  }
  for (const decision of schedule(state, requests, { seed: context.seed })) {
    const { request: asked } = decision;
    if (decision.host !== undefined) {
      state.unplace(asked.id);
      changes.push(placing(asked, decision.host, state));
      continue;
    }
    if (asked.step.type === 'replace') book.restore([asked.step.placed.path]);
    const entry = unplaced.get(asked.intent.key) ?? { pending: 0, staying: 0, explanation: '' };
    entry.explanation = decision.explanation;
    const { reason } = asked.step;
    if (asked.step.type === 'create' || reason === 'HostLost' || reason === 'Retried')
      entry.pending++;
    else if (asked.step.reason === 'HostDrained' || asked.step.reason === 'Rebalanced') {
      entry.evicted = (entry.evicted ?? 0) + 1;
    } else entry.staying++;
    unplaced.set(asked.intent.key, entry);
  }
  const unfinished = new Set<string>();
  for (const [key, count] of left) {
    const entry = unplaced.get(key);
    // All instances of a service ask for the same: where one finds no host, the others find none.
    if (entry === undefined) unfinished.add(key);
    else entry.pending += count;
  }
  return { changes, unplaced, unfinished };
}

function createsOfEach(intents: readonly Intent[], inAll: number): number {
  const growing = intents.filter((intent) => intent.steps.some((step) => step.type === 'create'));
  return Math.max(leastCreates, Math.floor(inAll / Math.max(1, growing.length)));
}

function removal(
  intent: Intent,
  step: Extract<Step, { type: 'remove' }>,
  state: ClusterState,
): Change {
  const { path } = step.placed;
  state.unplace(path);
  return {
    key: intent.key,
    step,
    conditions: [unchanged(step.placed)],
    operations: [{ type: 'delete', key: path }],
    deleted: path,
    touched: [path],
  };
}

function rewriting(
  intent: Intent,
  desired: DesiredInstances,
  step: Extract<Step, { type: 'rewrite' }>,
  context: AllocateContext,
): Change {
  const { placed } = step;
  const fresh = onHost(
    newPlacement(desired, placed.ordinal, context.newId(), context.now),
    desired.instance(placed.ordinal),
    placed.host,
    context.state,
  );
  const base = { key: intent.key, step, host: placed.host, touched: [placed.path] };
  if (placed.record !== undefined && ['Proved', 'Alone', 'Released'].includes(step.reason)) {
    const without: (keyof PlacementRecord)[] =
      step.reason === 'Proved'
        ? ['replaces', 'beside']
        : step.reason === 'Alone'
          ? ['beside']
          : ['hold', 'follows'];
    return { ...base, ...rewritten(intent, placed, stripped(placed.record, without)) };
  }
  if (placed.record !== undefined && step.reason === 'Finished') {
    context.state.unplace(placed.path);
    return { ...base, ...rewritten(intent, placed, { ...placed.record, finished: true }) };
  }
  // What the agent runs keeps its identity if it is what is wanted: then nothing restarts.
  const running = context.instances.of(intent.key, placed);
  const record =
    placed.record !== undefined
      ? { ...placed.record, serviceUID: desired.uid }
      : running?.specHash === fresh.specHash
        ? { ...fresh, id: running.id }
        : fresh;
  return { ...base, ...rewritten(intent, placed, record) };
}

/** The record at its place with another content. */
function rewritten(
  intent: Intent,
  placed: Placed,
  record: PlacementRecord,
): Required<Pick<Change, 'conditions' | 'operations' | 'put'>> {
  const ordinal = seatKey(placed.ordinal, placed.second === true);
  const key = { ...intent.identity, host: placed.host, ordinal };
  return {
    conditions: [unchanged(placed)],
    operations: [{ type: 'put', key: placed.path, value: placementRecords.encode(record) }],
    put: { key, path: placed.path, record },
  };
}

function stripped(
  record: PlacementRecord,
  without: readonly (keyof PlacementRecord)[],
): PlacementRecord {
  const rest = { ...record };
  for (const field of without) Reflect.deleteProperty(rest, field);
  return rest;
}

/** Both in one transaction: the ordinal never stands without an instance that answers for it. */
function finishing(
  intent: Intent,
  desired: DesiredInstances,
  step: Extract<Step, { type: 'finish' }>,
  state: ClusterState,
): Change {
  const { placed, next, proved } = step;
  const before = next.record ?? newPlacement(desired, next.ordinal, '', '');
  const record = stripped(before, proved ? ['beside', 'replaces'] : ['beside']);
  const { put, conditions, operations } = rewritten(intent, next, record);
  state.unplace(placed.path);
  return {
    key: intent.key,
    step,
    host: next.host,
    conditions: [unchanged(placed), ...conditions],
    operations: [{ type: 'delete', key: placed.path }, ...operations],
    put,
    deleted: placed.path,
    touched: [placed.path, next.path],
  };
}

function request(
  intent: Intent,
  run: NonNullable<Intent['run']>,
  step: Request['step'],
  context: AllocateContext,
): Request {
  const ordinal = step.type === 'create' ? step.ordinal : step.placed.ordinal;
  const record = newPlacement(run.instances, ordinal, context.newId(), context.now, marksOf(step));
  const home = run.bound === true ? context.homeOf?.(intent, ordinal) : undefined;
  const only: OnlyHost | undefined =
    step.host === undefined ? onlyHome(home) : { host: step.host, why: 'host' };
  return {
    id: `new ${record.id}`,
    service: intent.key,
    ...needsOf(record.container),
    rules: run.rules,
    intent,
    step,
    record,
    ...(only === undefined ? {} : { only }),
    ...(home === undefined ? {} : { home }),
  };
}

/** What the record of a new instance says of the one before it. */
function marksOf(step: Request['step']): Pick<PlacementRecord, 'replaces' | 'beside' | 'hold'> {
  if (step.type === 'create') return step.hold === true ? { hold: true } : {};
  const old = step.placed.record;
  // A replacement that was lost on trial has not proved itself yet.
  const replaces = step.reason === 'HostLost' ? old?.replaces : old?.id;
  return {
    ...(replaces === undefined ? {} : { replaces }),
    ...(step.type === 'accompany' ? { beside: true } : {}),
  };
}

function placing(asked: Request, host: string, state: ClusterState): Change {
  const { intent, step, service, reservation, ports } = asked;
  const ordinal = step.type === 'create' ? step.ordinal : step.placed.ordinal;
  const seated = step.type !== 'create' && step.placed.second === true;
  const second = step.type === 'accompany' ? !seated : seated;
  const moves = step.type === 'replace' && step.reason !== 'HostLost' && step.placed.host !== host;
  const made = onHost(asked.record, intent.run?.instances.instance(ordinal), host, state);
  const fenced = intent.run?.instances.fenced !== undefined;
  const left = fenced && step.type !== 'create' ? { follows: step.placed.host } : {};
  const record = moves ? { ...made, hold: true, ...left } : made;
  const key = { ...intent.identity, host, ordinal: seatKey(ordinal, second) };
  const path = placementRecords.path(key);
  state.place({ id: path, service, reservation, ports }, host);
  const put: Operation = { type: 'put', key: path, value: placementRecords.encode(record) };
  const { home } = asked;
  const base = {
    key: intent.key,
    step,
    host,
    put: { key, path, record },
    ...(home === undefined || home.host === host ? {} : { leftBehind: home }),
  };
  if (step.type !== 'replace') {
    return {
      ...base,
      conditions: [
        { type: 'absent', key: path },
        ...(step.type === 'accompany' ? [unchanged(step.placed)] : []),
      ],
      operations: [put],
      touched: [path],
    };
  }
  const old = step.placed;
  if (old.path === path) {
    return { ...base, conditions: [unchanged(old)], operations: [put], touched: [path] };
  }
  return {
    ...base,
    conditions: [
      unchanged(old),
      { type: 'absent', key: path },
      // Its agent may be about to come back and go on with it: one of the two comes first.
      ...(fenced && step.reason === 'HostLost'
        ? [{ type: 'absent', key: hostRecords.path({ host: old.host }) } as const]
        : []),
    ],
    operations: [put, { type: 'delete', key: old.path }],
    deleted: old.path,
    touched: [path, old.path],
  };
}

/** The record of an instance that may have to know its host. */
function onHost(
  record: PlacementRecord,
  want: DesiredInstance | undefined,
  host: string,
  state: ClusterState,
): PlacementRecord {
  const machineID = state.host(host)?.info?.machineID ?? '';
  return want?.on === undefined ? record : { ...record, ...want.on({ host, machineID }) };
}

/** Whether the instance can stay where its predecessor is: also on a cordoned host, if there is room. */
function fitsOn(hostName: string, wanted: Request, state: ClusterState): boolean {
  const host = state.host(hostName);
  if (host?.info === undefined) return false;
  return [hostPorts, resources, sealing].every(
    (filter) => filter(wanted, state)?.check(host) ?? true,
  );
}

function unchanged(placed: Placed): Condition {
  return { type: 'unchanged', key: placed.path, modRevision: placed.modRevision };
}
