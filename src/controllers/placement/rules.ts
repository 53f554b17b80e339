import type { ServiceIdentity } from '../../api/v1alpha1/names.ts';
import type { Operation } from '../../registry/store.ts';
import { Pipeline, type ClusterState } from '../../scheduler/index.ts';
import type { ServiceWish } from '../service/desired.ts';
import type { Change, Intent } from './allocate.ts';
import type { PlacementBook } from './book.ts';
import { crowdOf, misfitOf } from './demand.ts';
import { homeOf, mountedBy, planHome, type Home, type HomeSources } from './homes.ts';
import { planService, type Plan } from './plan.ts';
import { ordinalOf } from './step.ts';
import { planGlobal } from './plan-global.ts';
import type { Eviction, HostIdentity, HostStanding, Placed, PlacementView } from './types.ts';

type Run = Extract<ServiceWish['want'], { type: 'run' }>;

export interface PlacementRuleSources {
  readonly state: ClusterState;
  readonly book: PlacementBook;
  /** What a service asks for. */
  readonly wantOf: (service: string) => ServiceWish['want'] | undefined;
  /** Keys of all services. */
  readonly services: () => readonly string[];
  readonly standing: (host: string) => HostStanding;
  /** Where data is. Default: unknown, and instances are bound to nothing. */
  readonly homes?: HomeSources;
  /** The emptying of this host may wait no longer. */
  readonly drainIsOver?: (host: string) => boolean;
  /** Somebody speaks of the host: its Host object, or its agent. Default: yes. */
  readonly isKnown?: (host: string) => boolean;
}

/**
 * What the rules of services mean for what is placed already: who has to leave a host, who follows whom, where data is
 * waited for. Keeps the scheduler told of who conflicts with whom.
 */
export class PlacementRulesKeeper {
  readonly #from: PlacementRuleSources;
  /** By the service that is followed. */
  readonly #followers = new Map<string, Set<string>>();
  readonly #follows = new Map<string, readonly string[]>();
  /** Of global services: the numbers that count as wanted, by service. */
  readonly #wanted = new Map<string, ReadonlySet<number>>();
  /** Moves under way that make hosts more equal: by path, the host to go to. */
  readonly moves = new Map<string, string>();

  constructor(from: PlacementRuleSources) {
    this.#from = from;
  }

  /** Takes note of what a service asks for now; undefined: it is gone. Call before a pass decides. */
  heed(service: string, run: Run | undefined): void {
    this.#from.state.rivalry.declare(service, run?.rules.conflicts);
    for (const leader of this.#follows.get(service) ?? []) {
      const followers = this.#followers.get(leader);
      followers?.delete(service);
      if (followers?.size === 0) this.#followers.delete(leader);
    }
    const leaders = run?.rules.machineOf ?? [];
    if (leaders.length === 0) this.#follows.delete(service);
    else this.#follows.set(service, leaders);
    for (const leader of leaders) {
      const followers = this.#followers.get(leader) ?? new Set<string>();
      this.#followers.set(leader, followers.add(service));
    }
    if (run?.global !== true) this.#wanted.delete(service);
  }

  /** Services that have to be where this one is. */
  followersOf(service: string): Iterable<string> {
    return this.#followers.get(service) ?? [];
  }

  /** Whether others have to be where this one is. */
  isFollowed(service: string): boolean {
    return this.#followers.has(service);
  }

  /** Global services: they need a look when a host comes or goes. */
  globals(): string[] {
    return this.#from.services().filter((key) => {
      const want = this.#from.wantOf(key);
      return want?.type === 'run' && want.global === true;
    });
  }

  /** Of a global service: the numbers of the instances that count; undefined for any other, or before the first pass. */
  wanted(service: string): ReadonlySet<number> | undefined {
    return this.#wanted.get(service);
  }

  /** What a planner may ask about the world, with what the rules of the service say to it. */
  view(service: string, run: Run, view: PlacementView): PlacementView {
    const { book, state } = this.#from;
    const here = new Map<string, number[]>();
    for (const p of book.ofService(service)) {
      here.set(p.host, [...(here.get(p.host) ?? []), p.ordinal]);
    }
    return {
      ...view,
      misfit: (host, p) =>
        misfitOf(state, run.rules, host) ??
        (p === undefined ? undefined : crowdOf(state, service, run.rules, p, here.get(host) ?? [])),
      eviction: (p) => this.#eviction(p),
    };
  }

  /** The plan for one service. */
  plan(service: string, run: Run, view: PlacementView): Plan {
    const { book, state } = this.#from;
    const placed = book.ofService(service);
    const full = this.view(service, run, view);
    if (run.global !== true) return planService(run.instances, placed, full);
    const plan = planGlobal(run.instances, placed, {
      ...full,
      takers: this.#takers(service, run),
      leaves: (p) =>
        misfitOf(state, run.rules, p.host) !== undefined ||
        (this.#isDraining(p.host) && this.#onlyGlobalsOn(p.host)),
      forgotten: (host) =>
        this.#from.standing(host) === 'lost' && this.#from.isKnown?.(host) === false,
    });
    this.#wanted.set(service, plan.wanted);
    return plan;
  }

  /** Where the data of an instance is. */
  homeOf(intent: Intent, ordinal: number): Home | undefined {
    const { homes } = this.#from;
    const volumes = intent.run?.volumes;
    if (homes === undefined || volumes === undefined) return undefined;
    const on = (host: string) => volumes(ordinal, this.#identityOf(host));
    return homeOf(intent.identity, ordinal, on, homes);
  }

  /** Home records that have to be written, with the service that each is of. */
  homeChanges(
    intents: readonly Intent[],
    changes: readonly Change[],
  ): { readonly key: string; readonly operation: Operation }[] {
    const { homes, book, standing } = this.#from;
    if (homes === undefined) return [];
    return intents.flatMap(({ key, identity, run }) => {
      if (run?.volumes === undefined || run.bound !== true) return [];
      const seats = new Map<number, Pick<Placed, 'host' | 'record'>>();
      for (const placed of book.ofService(key)) {
        const { ordinal, host, record } = placed;
        // One that is only tried beside its predecessor is at home when that one goes.
        if (!Number.isFinite(ordinal) || record?.beside === true || standing(host) === 'lost')
          continue;
        seats.set(ordinal, placed);
      }
      for (const { key: of, step, put, operations } of changes) {
        if (of !== key || put === undefined || operations.length === 0) continue;
        if (step.type === 'accompany') continue;
        seats.set(ordinalOf(step), { host: put.key.host, record: put.record });
      }
      return [...seats].flatMap(([ordinal, placed]) => {
        const { host } = placed;
        const volumes = mountedBy(placed, run.volumes?.(ordinal, this.#identityOf(host)) ?? []);
        const operation = planHome(identity, ordinal, host, volumes, homes.homes);
        return operation === undefined ? [] : [{ key, operation }];
      });
    });
  }

  /** Why an instance cannot leave its host, as far as its rules tell; undefined when they let it. */
  anchorOf(identity: ServiceIdentity, run: Run, placed: Placed): string | undefined {
    if (run.bound !== true) return undefined;
    const home = this.homeOf({ key: '', identity, run, steps: [] }, placed.ordinal);
    return home?.host === placed.host
      ? `its volume ${home.volumes.join(', ')} is there`
      : undefined;
  }

  #eviction(p: Placed): Eviction | undefined {
    if (this.#isDraining(p.host)) {
      const now = this.#from.drainIsOver?.(p.host) === true;
      return { reason: 'HostDrained', ...(now ? { now } : {}) };
    }
    const to = this.moves.get(p.path);
    return to === undefined ? undefined : { reason: 'Rebalanced', to };
  }

  #identityOf(host: string): HostIdentity {
    return { host, machineID: this.#from.state.host(host)?.info?.machineID ?? '' };
  }

  #isDraining(host: string): boolean {
    return this.#from.state.host(host)?.info?.draining === true;
  }

  /** Those that look after others go last. */
  #onlyGlobalsOn(host: string): boolean {
    return this.#from.book.servicesOn(host).every((key) => {
      const want = this.#from.wantOf(key);
      return want?.type === 'run' && want.global === true;
    });
  }

  /** Hosts that the rules allow and that take new instances; also those that lack room for one, which then waits. */
  #takers(service: string, run: Run): string[] {
    const { state } = this.#from;
    const rules = { ...run.rules };
    delete (rules as { conflicts?: unknown }).conflicts;
    const request = {
      id: '',
      service: `/${service}`,
      reservation: { cpuMillis: 0, memoryBytes: 0 },
      ports: [],
      rules,
    };
    const pipeline = new Pipeline(request, state);
    return state.hosts.filter((host) => pipeline.fits(host)).map((host) => host.name);
  }
}
