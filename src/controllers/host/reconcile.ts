import { apiVersion } from '../../api/v1alpha1/group.ts';
import type { Host } from '../../api/v1alpha1/host.ts';
import type { KubeClient } from '../../kube/client.ts';
import { isAlreadyExists } from '../../kube/errors.ts';
import { hosts } from '../../kube/resources.ts';
import type { ReadonlyObjectStore } from '../../kube/store.ts';
import { wholeSecondsTime } from '../../kube/times.ts';
import type { Clock } from '../../runtime/clock.ts';
import { TerminalError } from '../../runtime/errors.ts';
import { isInvalid } from '../../kube/errors.ts';
import type { Reconcile } from '../../runtime/controller.ts';
import type { ClusterState } from '../../scheduler/index.ts';
import type { PlacementBook } from '../placement/book.ts';
import { drainClaim, drainedCondition, isDraining, type StuckInstance } from './drain.ts';
import { findCondition } from '../../kube/conditions.ts';
import type { EventRecorder } from '../../kube/events.ts';
import type { StatusWriter } from '../status-writer.ts';
import type { HostHealth } from './health.ts';
import type { HostKeeper } from './keeper.ts';
import { hostStatus, networkCondition } from './status.ts';

export interface HostReconcilerOptions {
  readonly client: KubeClient;
  readonly objects: ReadonlyObjectStore<Host>;
  readonly keeper: HostKeeper;
  readonly health: HostHealth;
  readonly state: ClusterState;
  readonly book: PlacementBook;
  readonly status: StatusWriter<Host>;
  readonly clock: Clock;
  readonly events: Pick<EventRecorder, 'record'>;
  /** What is left on a host that is being emptied. */
  readonly stuckOn: (host: string) => StuckInstance[];
}

/**
 * One host: its Host object is made when the agent registers (again, if somebody deletes it while the agent lives), and
 * its status told. Labels and spec belong to the user. Deleting the object of a host that is lost forgets the host;
 * deleting that of an emptied one takes the host out of the cluster until its agent is started anew.
 */
export function hostReconciler(options: HostReconcilerOptions): Reconcile {
  const { client, objects, keeper, health, state, book, status, clock } = options;
  return async (name, log, signal) => {
    const standing = health.standing(name, clock.monotonic());
    const cached = objects.getByKey(name);
    if (cached === undefined) {
      status.forget(name);
      if (standing !== 'present' || keeper.isRemoved(name)) return;
      try {
        await client.create(
          hosts,
          { apiVersion, kind: 'Host', metadata: { name }, spec: {} },
          signal,
        );
        log.info({ host: name }, 'host registered');
      } catch (error) {
        if (isInvalid(error))
          throw new TerminalError(`no Host can be called ${name}`, { cause: error });
        if (!isAlreadyExists(error)) throw error;
      }
      return;
    }
    const wait = status.waitMs(cached);
    if (wait > 0) return { requeueAfterMs: wait };
    const object = status.latest(cached);
    const now = clock.monotonic();
    const here = state.host(name);
    const record = keeper.record(name);
    const graceLeftMs = health.graceLeftMs(name, now);
    const brake =
      standing === 'lost'
        ? health.brake(now, (host) => book.servicesOn(host).length > 0)
        : undefined;
    const draining = isDraining(object);
    const next = hostStatus(
      object.status,
      object.metadata.generation,
      {
        standing,
        unschedulable: object.spec?.unschedulable === true,
        instances: here?.instances ?? 0,
        allocated: {
          cpuMillis: here?.reservedCpuMillis ?? 0,
          memoryBytes: here?.reservedMemoryBytes ?? 0,
        },
        ...(draining
          ? { drained: drainClaim(options.stuckOn(name), keeper.drainIsOver(name)) }
          : {}),
        ...(record === undefined ? {} : { record }),
        ...(graceLeftMs === undefined ? {} : { graceLeftMs }),
        ...(brake === undefined ? {} : { held: brake.message }),
      },
      wholeSecondsTime(clock.now()),
    );
    if (await status.write(object, next, signal)) {
      announceDrain(options.events, object, next);
      announceNetwork(options.events, object, next);
    }
    return;
  };
}

/** Once for each thing that was wrong. */
function announceNetwork(
  events: Pick<EventRecorder, 'record'>,
  before: Host,
  after: NonNullable<Host['status']>,
): void {
  const was = findCondition(before.status?.conditions, networkCondition);
  const is = findCondition(after.conditions, networkCondition);
  const isTrouble = is?.reason === 'NetworkProblem' || is?.reason === 'Repaired';
  if (is === undefined || !isTrouble || was?.message === is.message) return;
  const reason = is.reason === 'Repaired' ? 'NetworkRepaired' : 'NetworkProblem';
  events.record(before, 'Warning', reason, is.message);
}

/** Once for each time that the reason changes. */
function announceDrain(
  events: Pick<EventRecorder, 'record'>,
  before: Host,
  after: NonNullable<Host['status']>,
): void {
  const was = findCondition(before.status?.conditions, drainedCondition);
  const is = findCondition(after.conditions, drainedCondition);
  if (is === undefined || (was?.status === is.status && was.reason === is.reason)) return;
  if (is.status === 'True') events.record(before, 'Normal', 'Drained', is.message);
  else if (is.reason === 'Draining') events.record(before, 'Normal', 'Draining', is.message);
  else events.record(before, 'Warning', 'CannotDrain', is.message);
}
