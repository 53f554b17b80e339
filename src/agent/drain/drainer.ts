import type { InstanceKey } from '../../registry/records/index.ts';
import type { Revision } from '../../registry/store.ts';
import { sleep, type Clock } from '../../runtime/clock.ts';
import type { Logger } from '../../telemetry/log.ts';
import { isAborted } from '../../runtime/aborted.ts';
import type { Senders } from './senders.ts';

/** Hosts that have not said that they send no more are not waited for longer than this: they are slow, but alive. */
const heedMs = 5000;
/** How often the connections of a container are counted. */
const countEveryMs = 200;
/** A packet that was on its way when the last host stopped sending has arrived when this many counts in a row are 0. */
const quietCounts = 2;

/** How the instances of a service take their leave. */
export interface DrainPolicy {
  /** Connections that are open may go on for so long. */
  readonly timeoutMs: number;
  /** Clients that have looked the address up may use it for so long. */
  readonly lingerMs: number;
}

export interface DrainerDeps {
  readonly withdrawals: {
    /** Resolves when the registry has been told which endpoints of this host are gone by now, or after `atMostMs`. */
    settled(atMostMs: number): Promise<void>;
    /** The last revision in which this host has withdrawn an endpoint; 0: in none. */
    readonly withdrawn: Revision;
  };
  /** Absent: nobody is asked. */
  readonly senders: Pick<Senders, 'heeded'> | undefined;
  /** Asked again while connections are waited for: a service may be deleted meanwhile. */
  readonly policy: (key: InstanceKey) => DrainPolicy;
  /** Open connections to a container; undefined: it cannot be told. Throws EngineError. */
  readonly connections: (containerId: string) => Promise<number | undefined>;
  readonly clock: Clock;
  readonly log: Logger;
}

/** What is to be drained. */
export interface Leaving {
  readonly key: InstanceKey;
  readonly containerId: string;
  /** Whether its connections are worth waiting for. */
  readonly serves: boolean;
}

/**
 * Sees to it that a container can be stopped without anybody noticing: nobody sends it anything new, and what it was doing is
 * done. Takes a bounded time, whatever is away.
 */
export class Drainer {
  readonly #deps: DrainerDeps;

  constructor(deps: DrainerDeps) {
    this.#deps = deps;
  }

  /** @param show tells what is waited for */
  async drain(
    leaving: Leaving,
    show: (message: string) => void,
    signal: AbortSignal,
  ): Promise<void> {
    show('until no host sends to it');
    await this.#unreachable(leaving, show, signal);
    if (leaving.serves && !isAborted(signal)) await this.#quiet(leaving, show, signal);
  }

  async #unreachable(
    { key }: Leaving,
    show: (message: string) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const { withdrawals, senders, clock, log } = this.#deps;
    const end = clock.monotonic() + heedMs;
    await withdrawals.settled(heedMs);
    if (senders === undefined) return;
    const leftMs = Math.max(0, end - clock.monotonic());
    const behind = await senders.heeded(withdrawals.withdrawn, leftMs, signal);
    if (isAborted(signal) || behind?.length === 0) return;
    const who = behind === undefined ? 'hosts that are not known' : behind.join(', ');
    show(`${who} may still send to it`);
    log.warn(
      { instance: key, hosts: behind },
      'stopping an instance to which some hosts may still send: they did not answer in time',
    );
  }

  async #quiet(
    { key, containerId }: Leaving,
    show: (message: string) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const { policy, connections, clock } = this.#deps;
    const since = clock.monotonic();
    let quiet = 0;
    for (;;) {
      const { timeoutMs, lingerMs } = policy(key);
      const passedMs = clock.monotonic() - since;
      if (passedMs >= Math.max(timeoutMs, lingerMs)) return;
      if (timeoutMs > 0) {
        const count = await connections(containerId);
        quiet = count === 0 ? quiet + 1 : 0;
        if (count !== 0) show(`${count ?? 'unknown'} open connections`);
      }
      const isQuiet = quiet >= quietCounts || passedMs >= timeoutMs;
      if (isQuiet && passedMs >= lingerMs) return;
      await sleep(clock, countEveryMs, signal).catch(() => undefined);
      if (isAborted(signal)) return;
    }
  }
}
