import { finalizer } from '../../api/v1alpha1/group.ts';
import type { Service } from '../../api/v1alpha1/service.ts';
import type { KubeClient } from '../../kube/client.ts';
import type { EventRecorder } from '../../kube/events.ts';
import { addFinalizer, hasFinalizer, removeFinalizer } from '../../kube/finalizers.ts';
import { services } from '../../kube/resources.ts';
import type { ReadonlyObjectStore } from '../../kube/store.ts';
import { wholeSecondsTime } from '../../kube/times.ts';
import type { Clock } from '../../runtime/clock.ts';
import type { Reconcile } from '../../runtime/controller.ts';
import { findCondition } from '../../kube/conditions.ts';
import { standaloneProject } from '../../api/v1alpha1/names.ts';
import type { Scheduler } from '../schedule/scheduler.ts';
import type { VolumeBook } from '../placement/volume-book.ts';
import { routed } from '../routes/status.ts';
import type { StatusWriter } from '../status-writer.ts';
import type { ServiceDirectory } from './directory.ts';
import { factsOf, type FactSources } from './facts.ts';
import { serviceStatus } from './status.ts';

export interface ServiceReconcilerOptions extends FactSources {
  readonly client: KubeClient;
  readonly objects: ReadonlyObjectStore<Service>;
  readonly directory: ServiceDirectory;
  readonly volumes: Pick<VolumeBook, 'releaseOfService'>;
  readonly schedules: Scheduler;
  readonly status: StatusWriter<Service>;
  readonly events: Pick<EventRecorder, 'record'>;
  readonly clock: Clock;
}

/**
 * One Service object: keeps the finalizer on it, says how it stands, and lets it go when nothing of it is left on any
 * host. Which instances run where is the placement loop's business.
 */
export function serviceReconciler(options: ServiceReconcilerOptions): Reconcile {
  const { client, objects, directory, status, clock } = options;
  return async (key, _log, signal) => {
    const cached = objects.getByKey(key);
    const wish = directory.ofObject(key);
    if (cached === undefined || wish === undefined) {
      status.forget(key);
      return;
    }
    if (cached.metadata.deletionTimestamp === undefined && !hasFinalizer(cached, finalizer)) {
      // What it gives back comes through the informer, and with it the next pass.
      await addFinalizer(client, services, cached, finalizer, signal);
    }
    const { schedules } = options;
    if (wish.want.type === 'remove' && (await schedules.teardown(cached, signal)) > 0) {
      // Each run that goes brings us back here.
    } else if (wish.want.type === 'remove' && isGone(wish.key, options)) {
      if (wish.identity.project === standaloneProject) {
        await options.volumes.releaseOfService(wish.identity, signal);
      }
      await removeFinalizer(client, services, cached, finalizer, signal);
      return;
    }
    const wait = status.waitMs(cached);
    if (wait > 0) return { requeueAfterMs: wait };
    const object = status.latest(cached);
    const spec = wish.want.type === 'run' ? wish.want.schedule : undefined;
    if (spec === undefined && wish.want.type === 'run') await schedules.retire(cached, signal);
    const scheduled = spec === undefined ? undefined : await schedules.pass(object, spec, signal);
    const facts = factsOf(wish, options, scheduled);
    const next = serviceStatus(object, facts, wholeSecondsTime(clock.now()));
    if (await status.write(object, next, signal)) announce(options.events, object, next);
    return scheduled === undefined ? undefined : { requeueAfterMs: scheduled.requeueAfterMs };
  };
}

/** Whether no host is told to run anything of it, and none says that it does. */
function isGone(key: string, from: FactSources): boolean {
  return from.book.ofService(key).length === 0 && from.instances.ofService(key).length === 0;
}

/** Events for what has become wrong, once for each time that the reason changes. */
function announce(
  events: Pick<EventRecorder, 'record'>,
  before: Service,
  after: NonNullable<Service['status']>,
): void {
  const was = (type: string) => findCondition(before.status?.conditions, type);
  const is = (type: string) => findCondition(after.conditions, type);
  const stalled = is('Stalled');
  if (stalled?.status === 'True' && was('Stalled')?.reason !== stalled.reason) {
    events.record(before, 'Warning', stalled.reason, stalled.message);
  }
  const scheduled = is('Scheduled');
  if (scheduled?.status === 'False' && was('Scheduled')?.status !== 'False') {
    events.record(before, 'Warning', scheduled.reason, scheduled.message);
  }
  const routes = is(routed);
  if (routes?.status === 'False' && was(routed)?.reason !== routes.reason) {
    events.record(before, 'Warning', routes.reason, routes.message);
  }
  const ready = is('Ready');
  if (ready?.status === 'True' && was('Ready')?.status !== 'True') {
    events.record(before, 'Normal', ready.reason, ready.message);
  } else if (
    ready?.status === 'False' &&
    isFailure(after.state) &&
    was('Ready')?.reason !== ready.reason
  ) {
    events.record(before, 'Warning', ready.reason, ready.message);
  }
}

function isFailure(state: string | undefined): boolean {
  return state === 'Failed' || state === 'Degraded';
}
