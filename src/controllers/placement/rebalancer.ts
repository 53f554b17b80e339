import { instanceName, standaloneProject, type ServiceIdentity } from '../../api/v1alpha1/names.ts';
import { sleep, type Clock } from '../../runtime/clock.ts';
import type { ClusterState } from '../../scheduler/index.ts';
import type { ServiceDirectory } from '../service/directory.ts';
import type { PlacementBook } from './book.ts';
import { needsOf } from './demand.ts';
import { boundVolumes } from './homes.ts';
import type { PlacementLoop } from './loop.ts';
import { planRebalance, type MovableService } from './rebalance.ts';
import type { HostStanding } from './types.ts';

/** What a Project says about it. */
export interface RebalancePolicy {
  readonly isOn: boolean;
  /** Most moves at a time. */
  readonly moves: number;
}

export interface RebalancerOptions {
  readonly loop: PlacementLoop;
  readonly directory: ServiceDirectory;
  readonly book: PlacementBook;
  readonly state: ClusterState;
  readonly standing: (host: string) => HostStanding;
  readonly policyOf: (namespace: string, project: string) => RebalancePolicy | undefined;
  /** The proposals for a project changed. */
  readonly changed: (namespace: string, project: string) => void;
  readonly clock: Clock;
  /** How often it looks. Default 10,000 ms. */
  readonly everyMs?: number;
}

/** Most moves that are proposed for a project. */
const maxProposed = 20;
/** A move that has not come to an end after this long is given up; the instance stays where it is. */
const moveLimitMs = 300_000;

/**
 * Makes hosts equal again after one has joined or come back. It looks at all projects now and then, says what it would
 * move, and in projects that allow it moves as many instances at a time as they allow, each started on its new host before
 * it is stopped on the old one. Only services that are at rest are touched: all placed, all ready, nothing under way.
 */
export class Rebalancer {
  readonly #options: RebalancerOptions;
  readonly #proposals = new Map<string, readonly string[]>();
  readonly #begun = new Map<string, { readonly project: string; readonly at: number }>();

  constructor(options: RebalancerOptions) {
    this.#options = options;
  }

  /** What would make hosts more equal: "shop-web-3 from a to b: a has 3 of the service, b none". */
  proposals(namespace: string, project: string): readonly string[] {
    return this.#proposals.get(`${namespace}/${project}`) ?? [];
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock, everyMs = 10_000 } = this.#options;
    while (!signal.aborted) {
      await sleep(clock, everyMs, signal).catch(() => undefined);
      // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- it may abort during the sleep
      if (signal.aborted) return;
      this.#tidy();
      for (const [project, services] of this.#projects()) {
        this.#look(project, services);
        // Others get a turn between two projects.
        await sleep(clock, 0, signal).catch(() => undefined);
      }
    }
  }

  #tidy(): void {
    const { book, clock, loop } = this.#options;
    for (const [path, { at }] of this.#begun) {
      const service = book.serviceAt(path);
      if (service !== undefined && clock.monotonic() - at < moveLimitMs) continue;
      this.#begun.delete(path);
      loop.rules.moves.delete(path);
      if (service !== undefined) loop.mark(service);
    }
  }

  #projects(): Map<string, ServiceIdentity[]> {
    const projects = new Map<string, ServiceIdentity[]>();
    for (const key of this.#options.directory.keys()) {
      const identity = this.#options.directory.get(key)?.identity;
      if (identity === undefined || identity.project === standaloneProject) continue;
      const project = `${identity.namespace}/${identity.project}`;
      projects.set(project, [...(projects.get(project) ?? []), identity]);
    }
    return projects;
  }

  #look(project: string, identities: readonly ServiceIdentity[]): void {
    const { state, loop, policyOf, changed, clock } = this.#options;
    const [namespace = '', name = ''] = project.split('/');
    const movable = identities.flatMap((identity) => this.#movable(identity) ?? []);
    const moves = planRebalance(movable, state, maxProposed);
    const proposals = moves.map(({ service, placed, to, reason }) => {
      const [, , of = ''] = service.split('/');
      const ordinal = String(placed.ordinal);
      const instance = instanceName({ namespace, project: name, service: of, ordinal });
      return `${instance} from ${placed.host} to ${to}: ${reason}`;
    });
    if (proposals.join('\n') !== this.proposals(namespace, name).join('\n')) {
      if (proposals.length === 0) this.#proposals.delete(project);
      else this.#proposals.set(project, proposals);
      changed(namespace, name);
    }
    const policy = policyOf(namespace, name);
    if (policy?.isOn !== true) return;
    const underWay = [...this.#begun.values()].filter((begun) => begun.project === project).length;
    for (const { service, placed, to } of moves.slice(0, Math.max(0, policy.moves - underWay))) {
      this.#begun.set(placed.path, { project, at: clock.monotonic() });
      loop.rules.moves.set(placed.path, to);
      loop.mark(service);
    }
  }

  /** The service if all of it is at rest and its instances may go elsewhere without losing anything. */
  #movable(identity: ServiceIdentity): MovableService | undefined {
    const { directory, book, loop, standing } = this.#options;
    const key = `${identity.namespace}/${identity.project}/${identity.service}`;
    const want = directory.get(key)?.want;
    if (want?.type !== 'run' || want.global === true || want.blocked !== undefined)
      return undefined;
    // It would have to be stopped first.
    if (want.instances.fenced !== undefined) return undefined;
    const { rules, instances } = want;
    if (
      rules.strategy !== 'spread' ||
      rules.machineOf !== undefined ||
      instances.paused === true ||
      instances.oneshot !== undefined
    ) {
      return undefined;
    }
    if (rules.machineID !== undefined || loop.rules.isFollowed(key)) return undefined;
    const outcome = loop.outcome(key);
    if (Object.keys(outcome).length > 0) return undefined;
    const placed = book.ofService(key);
    const first = placed[0];
    if (first?.record === undefined || placed.length !== instances.replicas) return undefined;
    const atRest = placed.every(
      (p) =>
        standing(p.host) === 'present' &&
        loop.stateOf(key, p) === 'ready' &&
        p.record?.specHash === instances.instance(p.ordinal).specHash,
    );
    if (!atRest) return undefined;
    const bound = want.volumes?.(first.ordinal, { host: first.host, machineID: '' }) ?? [];
    if (boundVolumes(bound).length > 0) return undefined;
    // Instances that publish ports by their number differ; any of them stands for all only if they do not.
    const request = { service: key, ...needsOf(first.record.container), rules };
    const same = placed.every(
      (p) =>
        JSON.stringify(needsOf(p.record?.container)) ===
        JSON.stringify(needsOf(first.record?.container)),
    );
    return same ? { key, request, placed } : undefined;
  }
}
