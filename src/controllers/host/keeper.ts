import { equalJson } from '../../api/json.ts';
import type { Host } from '../../api/v1alpha1/host.ts';
import type { HostRecord } from '../../registry/records/host.ts';
import type { Clock } from '../../runtime/clock.ts';
import type { ClusterState, HostInfo } from '../../scheduler/index.ts';
import type { Logger } from '../../telemetry/log.ts';
import type { PlacementBook } from '../placement/book.ts';
import { drainDue, isDraining, isEmptied } from './drain.ts';
import type { HostHealth } from './health.ts';

export interface HostKeeperOptions {
  readonly state: ClusterState;
  readonly book: PlacementBook;
  readonly health: HostHealth;
  readonly clock: Clock;
  readonly log: Logger;
  /** What is placed on the host, or its standing, concerns these services (serviceIds). */
  readonly mark: (service: string) => void;
  readonly roomAppeared: () => void;
  /** The Host object may need a look. */
  readonly touched: (host: string) => void;
  /** The host is given up. */
  readonly lost: (host: string) => void;
  /** The object of an emptied host was deleted while its agent lives: to be remembered. */
  readonly remember?: (host: string, session: string) => void;
}

/**
 * Brings together what is known of hosts, their agents' records and the users' Host objects, for the scheduler, and
 * tells when one is lost. A host that is away stays known, not ready, as long as somebody speaks of it.
 */
export class HostKeeper {
  readonly #options: HostKeeperOptions;
  readonly #records = new Map<string, HostRecord>();
  readonly #objects = new Map<string, Host>();
  readonly #infos = new Map<string, HostInfo>();
  readonly #lost = new Set<string>();
  #cancelTimer: (() => void) | undefined;
  /** Hosts that were taken out of the cluster, with the agent's session at that time. */
  readonly #removed = new Map<string, string>();
  readonly #drainTimers = new Map<string, () => void>();

  constructor(options: HostKeeperOptions) {
    this.#options = options;
  }

  record(host: string): HostRecord | undefined {
    return this.#records.get(host);
  }

  /** The agent's record is there. */
  registered(host: string, record: HostRecord): void {
    this.#records.set(host, record);
    this.#options.health.present(host);
    this.#lost.delete(host);
    this.#refresh(host);
    this.#options.touched(host);
  }

  /** The agent's record is gone, or there is none for a host that something else speaks of. */
  missing(host: string): void {
    const { health, clock, touched } = this.#options;
    health.absent(host, clock.monotonic());
    this.#refresh(host);
    touched(host);
    this.evaluate();
  }

  /** The Host object as the user left it; undefined: there is none. */
  object(host: string, object: Host | undefined): void {
    const before = this.#objects.get(host);
    const session = this.#records.get(host)?.session;
    if (object === undefined && isEmptied(before) && session !== undefined) {
      this.#removed.set(host, session);
      this.#options.remember?.(host, session);
    }
    if (object === undefined) this.#objects.delete(host);
    else this.#objects.set(host, object);
    const matters = (o: Host | undefined): unknown => [
      o?.metadata.labels,
      o?.spec?.unschedulable,
      isDraining(o),
    ];
    if (!equalJson(matters(before), matters(object))) this.#refresh(host);
    const { health, clock, book, mark } = this.#options;
    // What a global service has on a lost host waits only as long as somebody speaks of the host.
    if (object === undefined && before !== undefined) {
      for (const service of book.servicesOn(host)) mark(service);
    }
    this.#watchDrain(host);
    if (object !== undefined && !this.#records.has(host)) {
      health.absent(host, clock.monotonic());
    }
    const nobodySpeaks = object === undefined && book.servicesOn(host).length === 0;
    if (nobodySpeaks && health.standing(host, clock.monotonic()) === 'lost') this.#forget(host);
  }

  /** The agent announced an absence until `untilMs` (wall clock), or took that back. */
  grace(host: string, untilMs: number | undefined): void {
    const { health, clock, touched } = this.#options;
    const remaining = untilMs === undefined ? undefined : untilMs - clock.now();
    health.grace(host, remaining, clock.monotonic());
    touched(host);
    this.evaluate();
  }

  /** Finds out who is lost by now, and sees to it that the next one is found in time. */
  evaluate(): void {
    const { health, clock, book, mark, touched, lost } = this.#options;
    const now = clock.monotonic();
    for (const host of health.absentHosts()) {
      if (health.standing(host, now) !== 'lost') {
        this.#lost.delete(host);
        continue;
      }
      if (this.#lost.has(host)) continue;
      this.#lost.add(host);
      // One that nothing speaks of any more is merely forgotten.
      if (!this.#objects.has(host) && book.servicesOn(host).length === 0) {
        this.#forget(host);
        continue;
      }
      lost(host);
      touched(host);
      for (const service of book.servicesOn(host)) mark(service);
    }
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    const next = health.nextLossInMs(now);
    if (next !== undefined) {
      this.#cancelTimer = clock.schedule(() => {
        this.evaluate();
      }, next);
    }
  }

  /** The registry answered (true) or did not. */
  registryAnswers(answers: boolean): void {
    const { health, clock } = this.#options;
    if (answers) health.registryHealthy(clock.monotonic());
    else health.registryUnhealthy();
    this.evaluate();
  }

  /** Whether the host was taken out of the cluster, and its agent has not been started anew since. */
  isRemoved(host: string): boolean {
    const session = this.#records.get(host)?.session;
    return session !== undefined && this.#removed.get(host) === session;
  }

  /** The registry says that a host was taken out of the cluster; undefined: it does not say so (any more). */
  removed(host: string, session: string | undefined): void {
    if (session === undefined) this.#removed.delete(host);
    else this.#removed.set(host, session);
    this.#refresh(host);
    this.#options.touched(host);
  }

  /** Whether the host is being emptied and may wait no longer for that. */
  drainIsOver(host: string): boolean {
    const due = drainDue(this.#objects.get(host));
    return due !== undefined && this.#options.clock.now() >= due;
  }

  /** Somebody speaks of the host: its Host object, or its agent. */
  isKnown(host: string): boolean {
    const { health, clock } = this.#options;
    return this.#objects.has(host) || health.standing(host, clock.monotonic()) !== 'lost';
  }

  /** Sees to it that what is left on the host is looked at when its time is up. */
  #watchDrain(host: string): void {
    const { clock, book, mark, touched } = this.#options;
    this.#drainTimers.get(host)?.();
    this.#drainTimers.delete(host);
    const due = drainDue(this.#objects.get(host));
    if (due === undefined || due <= clock.now()) return;
    const wake = (): void => {
      for (const service of book.servicesOn(host)) mark(service);
      touched(host);
    };
    this.#drainTimers.set(host, clock.schedule(wake, due - clock.now()));
  }

  stop(): void {
    for (const cancel of this.#drainTimers.values()) cancel();
    this.#cancelTimer?.();
  }

  #forget(host: string): void {
    this.#options.health.forget(host);
    this.#records.delete(host);
    this.#infos.delete(host);
    this.#options.state.removeHost(host);
  }

  #refresh(host: string): void {
    const { state, health, clock, roomAppeared, book, mark } = this.#options;
    const record = this.#records.get(host);
    if (record === undefined) return;
    const object = this.#objects.get(host);
    const present = health.standing(host, clock.monotonic()) === 'present';
    const info: HostInfo = {
      name: host,
      machineID: record.machineID,
      labels: { ...record.metadata, ...object?.metadata.labels },
      capacity: record.capacity,
      ready: present && record.ready,
      unschedulable: object?.spec?.unschedulable === true || this.isRemoved(host),
      ...(isDraining(object) ? { draining: true } : {}),
      ...(record.sealingKey === undefined ? {} : { sealingKey: record.sealingKey }),
    };
    const before = this.#infos.get(host);
    if (equalJson(before, info)) return;
    this.#infos.set(host, info);
    state.setHost(info);
    roomAppeared();
    // What runs there may break a rule now, or need its contents sealed for another key.
    const matters = (i: HostInfo): unknown => [i.labels, i.sealingKey, i.draining];
    if (before !== undefined && !equalJson(matters(before), matters(info))) {
      for (const service of book.servicesOn(host)) mark(service);
    }
  }
}
