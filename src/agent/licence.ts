import { readFile, rename, writeFile } from 'node:fs/promises';

/** Where the end of the licence is noted, so that it outlives an agent, but not the machine's uptime. */
export interface LicenceNote {
  /** Milliseconds since boot; undefined: nothing (readable) is noted. */
  read(): Promise<number | undefined>;
  write(untilMs: number): Promise<void>;
}

export interface LicenceOptions {
  /** For how long the host's lease is proved alive, milliseconds; 0: it is not. */
  readonly remainingMs: () => number;
  /** The clock that all processes of the machine share: monotonic milliseconds since boot. */
  readonly sinceBootMs: () => number;
  /** Absent: an agent that is restarted begins without a licence. */
  readonly note?: LicenceNote;
  /** Called when a licence ends that an earlier agent has left. */
  readonly onEnd: () => void;
  readonly schedule: (callback: () => void, delayMs: number) => () => void;
}

/**
 * The right to run instances that are fenced. It ends with the host's lease, by the local monotonic clock, which is
 * before anybody else can see the lease gone. An agent that starts anew goes on under what the one before it has noted,
 * until it has a lease of its own: an upgrade of the agent stops nothing that is fenced, nor does a crash after which it is
 * back before the lease could run out.
 */
export class Licence {
  readonly #options: LicenceOptions;
  #carriedUntil = 0;
  #cancel: () => void = () => undefined;

  constructor(options: LicenceOptions) {
    this.#options = options;
  }

  /** Takes over what an earlier agent has noted. Call before anything is planned. */
  async carryOver(): Promise<void> {
    const { note, sinceBootMs, schedule, onEnd } = this.#options;
    this.#carriedUntil = (await note?.read()) ?? 0;
    const left = this.#carriedUntil - sinceBootMs();
    if (left > 0) this.#cancel = schedule(onEnd, left);
  }

  held(): boolean {
    const { remainingMs, sinceBootMs } = this.#options;
    return remainingMs() > 0 || sinceBootMs() < this.#carriedUntil;
  }

  /** Notes how long the lease is proved alive by now. */
  async note(): Promise<void> {
    const remaining = this.#options.remainingMs();
    if (remaining > 0) await this.leave(remaining);
  }

  /** Notes that the licence lasts for `forMs` from now, whatever becomes of this agent. */
  async leave(forMs: number): Promise<void> {
    await this.#options.note?.write(this.#options.sinceBootMs() + forMs);
  }

  stop(): void {
    this.#cancel();
  }
}

/** A note in a file, which must be on a file system that a reboot empties. */
export function licenceFile(path: string): LicenceNote {
  return {
    async read() {
      try {
        const { until } = JSON.parse(await readFile(path, 'utf8')) as { until?: unknown };
        return typeof until === 'number' ? until : undefined;
      } catch {
        // Missing or torn: no licence, which is the safe side.
        return undefined;
      }
    },
    async write(untilMs) {
      const draft = `${path}.new`;
      await writeFile(draft, JSON.stringify({ until: untilMs }), { mode: 0o600 });
      await rename(draft, path);
    },
  };
}
