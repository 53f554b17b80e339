import type { Bonds } from '../../api/v1alpha1/bonds.ts';
import type { ServiceWish } from '../service/desired.ts';
import type { Plan } from './plan.ts';
import type { Step } from './step.ts';

type Run = Extract<ServiceWish['want'], { type: 'run' }>;

/** How another service of the project stands. */
export interface Neighbour {
  /** There is such a service, and it can be acted upon. */
  readonly exists: boolean;
  /** Instances that it is to have. */
  readonly replicas: number;
  /** Its latest spec is acted upon, and no update is under way. */
  readonly settled: boolean;
  /** Of the wanted instances, those whose processes run. */
  readonly running: number;
  /** Those that serve. */
  readonly ready: number;
  /** Those that have ended with success. */
  readonly done: number;
  /** Those that have failed. */
  readonly failed: number;
  /** What is missing of it cannot come now: no host has room, or it waits for something that has failed. */
  readonly held: boolean;
  /** Instances that run or start, or count as if they did. Default: those that exist and have not ended. */
  readonly alive?: number;
  /** Instances that exist in any way, wanted or not. */
  readonly existing: number;
  /** Changes when its first instance is replaced by another one. */
  readonly token: string | undefined;
}

/** Tells how a service of the project stands, by its name. */
export type Neighbourhood = (service: string) => Neighbour;

/** What bonds have to say about a service at this moment. */
export interface Order {
  /** Why nothing of it may run now. */
  readonly stopped?: string;
  /** Why no instance may be made or updated now: "db to be healthy". */
  readonly waitsFor?: string;
  /** It waits for something that has failed. */
  readonly hopeless?: boolean;
  /** Nor may those be made anew that were lost. */
  readonly shut: boolean;
  /** What its new instances come after; one that came after something else has to start anew. */
  readonly after: Readonly<Record<string, string>>;
}

/**
 * What a service's bonds allow now. Pure: the same neighbours always give the same order, so a new operator comes to it too.
 *
 * First deployment and updates wait for all instances of a dependency. What was lost with its host is made anew as soon
 * as one serves: a dependency that has nine of ten instances does not keep others from healing.
 *
 * @param excludedBy services that say that they conflict with this one
 */
export function orderOf(bonds: Bonds, excludedBy: readonly string[], around: Neighbourhood): Order {
  const after: Record<string, string> = {};
  const follow = (service: string): void => {
    const { token } = around(service);
    if (token !== undefined) after[service] = token;
  };
  let stopped: string | undefined;
  let waitsFor: string | undefined;
  let shut = false;
  let hopeless = false;
  const wait = (message: string, hard: boolean): void => {
    waitsFor ??= message;
    shut ||= hard;
  };
  for (const [service, { condition, restart }] of Object.entries(bonds.dependsOn ?? {})) {
    const n = around(service);
    if (restart) follow(service);
    const reached = { started: n.running + n.done, healthy: n.ready, completed: n.done }[condition];
    const enough = n.exists && n.replicas > 0 && reached >= n.replicas;
    if (enough && n.settled) continue;
    hopeless ||= n.held || (n.failed > 0 && n.failed >= n.replicas);
    wait(
      `${service} to be ${enough ? 'updated' : condition}`,
      condition === 'completed' ? !enough : reached === 0,
    );
  }
  for (const service of [...(bonds.requires ?? []), ...(bonds.bindsTo ?? [])]) {
    const n = around(service);
    follow(service);
    if (n.exists && n.replicas === 0) stopped ??= `it requires ${service}, which is stopped`;
    if (!n.exists || (n.failed > 0 && n.failed >= n.replicas)) {
      hopeless = true;
      wait(`${service} to work`, true);
    }
  }
  for (const service of bonds.wants ?? []) {
    const n = around(service);
    const settledAll = n.running + n.done + n.failed >= n.replicas;
    // The weakest of all bonds: what cannot start is not waited for.
    if (n.exists && !n.held && !settledAll) wait(`${service} to be started`, false);
  }
  for (const service of bonds.bindsTo ?? []) {
    const n = around(service);
    const alive = n.alive ?? n.existing - n.failed - n.done;
    if (n.exists && n.settled && alive <= 0)
      stopped ??= `it is bound to ${service}, which does not run`;
  }
  for (const service of bonds.partOf ?? []) {
    const n = around(service);
    follow(service);
    if (n.exists && n.replicas === 0) stopped ??= `it is part of ${service}, which is stopped`;
  }
  for (const service of excludedBy) {
    const n = around(service);
    if (n.exists && n.replicas > 0) stopped ??= `${service} runs, which conflicts with it`;
  }
  for (const service of bonds.conflictsWith ?? []) {
    if (around(service).existing > 0) wait(`${service} to stop`, true);
  }
  return {
    shut,
    after,
    ...(hopeless ? { hopeless } : {}),
    ...(stopped === undefined ? {} : { stopped }),
    ...(waitsFor === undefined ? {} : { waitsFor }),
  };
}

/** What a service wants as far as its bonds allow it. */
export function underOrder(want: Run, { stopped, after }: Order): Run {
  const { instances } = want;
  if (stopped === undefined && Object.keys(after).length === 0) return want;
  return {
    ...want,
    instances: { ...instances, after, ...(stopped === undefined ? {} : { replicas: 0 }) },
  };
}

/** The plan without the steps that have to wait. */
export function heldBack(plan: Plan, order: Order): Plan & { readonly waits: boolean } {
  const { waitsFor } = order;
  if (waitsFor === undefined) return { ...plan, waits: false };
  const kept = plan.steps.filter((step) => !hasToWait(step, order));
  const dropped = kept.length < plan.steps.length;
  const roll = plan.roll;
  const say = dropped && roll?.state === 'waiting';
  return {
    ...plan,
    steps: kept,
    ...(say ? { roll: { ...roll, message: `${roll.message}; waiting for ${waitsFor}` } } : {}),
    waits: dropped,
  };
}

function hasToWait(step: Step, order: Order): boolean {
  switch (step.type) {
    case 'create':
      return true;
    case 'replace':
      return step.reason === 'HostLost' ? order.shut : updating.has(step.reason);
    case 'accompany':
      return updating.has(step.reason);
    default:
      return false;
  }
}

/** What moves for other reasons than the project's own changes is not held up. */
const updating: ReadonlySet<string> = new Set(['SpecChanged', 'Following']);
