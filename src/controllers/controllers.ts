import { hosts, projects, services } from '../kube/resources.ts';
import type { Revision } from '../registry/store.ts';
import { Controller, type ControllerOptions } from '../runtime/controller.ts';
import type { ClusterState } from '../scheduler/index.ts';
import type { HostHealth } from './host/health.ts';
import type { HostKeeper } from './host/keeper.ts';
import { hostReconciler } from './host/reconcile.ts';
import { stuckOn } from './host/stuck.ts';
import type { KubeFeed } from './kube-feed.ts';
import type { MeshPortBook } from './mesh-port-book.ts';
import type { OperatorDeps } from './operator-options.ts';
import type { InstanceBook, PlacementBook } from './placement/book.ts';
import type { PlacementLoop } from './placement/loop.ts';
import type { Rebalancer } from './placement/rebalancer.ts';
import { VolumeBook } from './placement/volume-book.ts';
import type { VolumeRecords } from './placement/types.ts';
import { projectReconciler } from './project/reconcile.ts';
import { RevisionBook } from './project/revision-book.ts';
import type { RouteLoop } from './routes/loop.ts';
import { Scheduler } from './schedule/scheduler.ts';
import type { ServiceDirectory } from './service/directory.ts';
import type { FactSources } from './service/facts.ts';
import { serviceReconciler } from './service/reconcile.ts';
import { StatusWriter } from './status-writer.ts';
import type { VirtualIpBook } from './virtual-ip-book.ts';

/** One for each kind of object. */
export interface Controllers {
  readonly project: Controller;
  readonly service: Controller;
  readonly host: Controller;
}

/** What the controllers of one term read and write through. */
export interface ControllerDeps extends OperatorDeps {
  /** What every decision is conditional on. */
  readonly epoch: () => Revision;
  readonly kube: KubeFeed;
  readonly volumeRecords: VolumeRecords;
  readonly directory: ServiceDirectory;
  readonly state: ClusterState;
  readonly book: PlacementBook;
  readonly instances: InstanceBook;
  readonly health: HostHealth;
  readonly keeper: HostKeeper;
  readonly loop: PlacementLoop;
  readonly rebalancer: Rebalancer;
  readonly routes: RouteLoop;
  readonly virtualIps: VirtualIpBook;
  readonly meshPorts: MeshPortBook;
}

/** The controllers of one term, none of which runs yet. */
export function makeControllers(deps: ControllerDeps): Controllers {
  const { client, clock, log, events, kube, loop } = deps;
  const { store: serviceObjects } = kube.services;
  const make = (name: string, reconcile: ControllerOptions['reconcile']): Controller =>
    new Controller({
      name,
      reconcile,
      log,
      clock,
      ...(deps.observer && { observer: deps.observer }),
    });
  const volumes = new VolumeBook(deps.store, deps.epoch, deps.volumeRecords, log);
  const sources: FactSources = {
    book: deps.book,
    instances: deps.instances,
    outcome: (key) => loop.outcome(key),
    actedUpon: (key) => loop.actedUpon(key),
    stateOf: (key, placed) => loop.stateOf(key, placed),
    virtualIps: deps.virtualIps,
    meshPorts: deps.meshPorts,
    standing: (host) => deps.health.standing(host, clock.monotonic()),
    wanted: (key) => loop.rules.wanted(key),
    runOf: ({ key, identity, want }) =>
      want.type === 'run' ? loop.runs.facts(key, identity, want) : undefined,
    routes: (key) => deps.routes.verdict(key),
  };
  return {
    project: make(
      'project',
      projectReconciler({
        proposals: (namespace, name) => deps.rebalancer.proposals(namespace, name),
        client,
        objects: kube.projects.store,
        services: serviceObjects,
        revisions: new RevisionBook(deps.store, deps.epoch, log),
        volumes,
        status: new StatusWriter(client, projects, clock),
        events,
        clock,
      }),
    ),
    service: make(
      'service',
      serviceReconciler({
        ...sources,
        client,
        objects: serviceObjects,
        directory: deps.directory,
        volumes,
        schedules: new Scheduler({ client, objects: serviceObjects, events, clock }),
        status: new StatusWriter(client, services, clock),
        events,
        clock,
      }),
    ),
    host: make(
      'host',
      hostReconciler({
        client,
        objects: kube.hosts.store,
        keeper: deps.keeper,
        health: deps.health,
        state: deps.state,
        book: deps.book,
        status: new StatusWriter(client, hosts, clock),
        clock,
        events,
        stuckOn: stuckOn({ book: deps.book, directory: deps.directory, loop: loop }),
      }),
    ),
  };
}
