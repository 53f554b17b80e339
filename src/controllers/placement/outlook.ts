import { formatDuration } from '../../api/v1alpha1/duration.ts';
import { parseSeat, seatKey } from '../../api/v1alpha1/seat.ts';
import { defaultUpdatePolicy } from '../../api/v1alpha1/update-policy.ts';
import type { Clock } from '../../runtime/clock.ts';
import type { Timers } from '../../runtime/timers.ts';
import { fenceOf } from '../host/fence.ts';
import type { HostHealth } from '../host/health.ts';
import type { ServiceDirectory } from '../service/directory.ts';
import type { InstanceBook, PlacementBook } from './book.ts';
import { instanceState, troubleOf, type Readiness } from './readiness.ts';
import type { InstanceState, Placed, PlacementView } from './types.ts';

export interface OutlookOptions {
  readonly directory: ServiceDirectory;
  readonly book: PlacementBook;
  readonly instances: InstanceBook;
  readonly readiness: Readiness;
  readonly health: HostHealth;
  /** Somebody speaks of the host: its Host object, or its agent. Default: yes. */
  readonly isKnown?: (host: string) => boolean;
  /** The last pass over the service found no room for some of its instances. */
  readonly lacksRoom: (key: string) => boolean;
  /** An update of the service waits for instances. */
  readonly isRolling: (key: string) => boolean;
  /** Asks for another look at the service. */
  readonly mark: (key: string) => void;
  readonly timers: Timers;
  readonly clock: Clock;
}

/**
 * How the instances of a service and their hosts stand now. Where the answer will be another one after some time and
 * somebody waits for that, it sees to it that the service is looked at then.
 */
export class Outlook {
  readonly #options: OutlookOptions;

  constructor(options: OutlookOptions) {
    this.#options = options;
  }

  /** What the planner asks about one service, as of now. The rules of its placement are not in it: see rules.ts. */
  view(key: string): PlacementView {
    const { instances, readiness, health, clock } = this.#options;
    const now = clock.monotonic();
    let leaving: ReadonlySet<number> | undefined;
    const want = this.#options.directory.get(key)?.want;
    const fence = want?.type === 'run' ? want.instances.fenced : undefined;
    return {
      ...(fence === undefined
        ? {}
        : { mayStillRun: (host: string) => this.#mayStillRun(key, host, fence.afterMs) }),
      lacksRoom: this.#options.lacksRoom(key),
      state: (placed) => this.stateOf(key, placed),
      host: (name) => health.standing(name, now),
      misfit: () => undefined,
      trouble: (placed) => {
        const settlesIn = readiness.settlesInMs(placed.path, placed.record?.id ?? '', now);
        return settlesIn !== undefined ? undefined : troubleOf(instances.of(key, placed));
      },
      overdue: (placed) => this.#overdue(key, placed),
      rested: (placed) => (this.#settlesIn(key, placed, true) ?? 0) === 0,
      leaving: (ordinal) => {
        leaving ??= this.#leaving(key);
        return leaving.has(ordinal);
      },
    };
  }

  /** Why what is fenced may still run on a host; sees to it that the end of that is noticed. */
  #mayStillRun(key: string, host: string, afterMs: number): string | undefined {
    const { health, clock, isKnown } = this.#options;
    const fence = fenceOf(health, host, afterMs, isKnown?.(host) !== false, clock.monotonic());
    if (fence?.endsInMs !== undefined) {
      this.#options.timers.keep(`fence ${key} ${host}`, fence.endsInMs, () => {
        this.#options.mark(key);
      });
    }
    return fence?.why;
  }

  /** How a placed instance stands; and a wake-up for when it will have settled, if an update waits for that. */
  stateOf(key: string, placed: Placed): InstanceState {
    const record = this.#options.instances.of(key, placed);
    return instanceState(placed, record, this.#settlesIn(key, placed, false));
  }

  /** As Readiness says it by the service's own policy; sets a wake-up if an update waits for that. */
  #settlesIn(key: string, placed: Placed, rest: boolean): number | undefined {
    const { instances, readiness, directory, clock } = this.#options;
    const want = directory.get(key)?.want;
    const policy = want?.type === 'run' ? want.instances.update : undefined;
    const id = placed.record?.id ?? instances.of(key, placed)?.id ?? '';
    const settlesIn = readiness.settlesInMs(placed.path, id, clock.monotonic(), policy, rest);
    if (settlesIn !== undefined && settlesIn > 0 && this.#options.isRolling(key)) {
      this.#options.timers.keep(
        `settled ${placed.path}${rest ? ' and rested' : ''}`,
        settlesIn,
        () => {
          this.#options.mark(key);
        },
      );
    }
    return settlesIn;
  }

  /** As PlacementView has it; sets a wake-up for when it will be so. */
  #overdue(key: string, placed: Placed): string | undefined {
    const { directory, readiness, clock } = this.#options;
    const want = directory.get(key)?.want;
    if (want?.type !== 'run') return undefined;
    const limitMs = (want.instances.update ?? defaultUpdatePolicy).progressDeadlineMs;
    if (limitMs === undefined) return undefined;
    const { path, record } = placed;
    const leftMs = limitMs - readiness.awaitedMs(path, record?.id ?? '', clock.monotonic());
    if (leftMs <= 0) return `not ready within ${formatDuration(limitMs)} (progressDeadline)`;
    this.#options.timers.keep(`overdue ${path}`, leftMs, () => {
      this.#options.mark(key);
    });
    return undefined;
  }

  /** Ordinals of which some host still has an instance that is not placed there any more. */
  #leaving(key: string): ReadonlySet<number> {
    const { book, instances } = this.#options;
    const here = new Set(
      book.ofService(key).map((p) => `${p.host}/${seatKey(p.ordinal, p.second === true)}`),
    );
    const ordinals = new Set<number>();
    for (const { key: at } of instances.ofService(key)) {
      const seat = parseSeat(at.ordinal);
      if (seat !== undefined && !here.has(`${at.host}/${at.ordinal}`)) ordinals.add(seat.ordinal);
    }
    return ordinals;
  }
}
