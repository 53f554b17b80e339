/**
 * Who leads, written into a coordination.k8s.io Lease for those who look there (`kubectl get lease`). It decides nothing:
 * the election is held in the registry.
 */
import type { Clock } from '../runtime/clock.ts';
import { deadline } from '../runtime/deadline.ts';
import { asError } from '../runtime/errors.ts';
import { Trigger } from '../runtime/trigger.ts';
import type { Logger } from '../telemetry/log.ts';
import type { KubeClient } from './client.ts';
import { isAlreadyExists, isConflict, isNotFound } from './errors.ts';
import { leases, type Lease } from './resources.ts';
import { microTime } from './times.ts';

export interface LeaderNoteOptions {
  readonly namespace: string;
  /** Name of the Lease. */
  readonly name: string;
  /** Who we are. */
  readonly identity: string;
  /** How often it is renewed, or looked at, milliseconds. Default 5,000; sooner after a failure. */
  readonly everyMs?: number;
  /** Told after each try whether the API server answered. */
  readonly onAnswer?: (answers: boolean) => void;
  readonly clock: Clock;
  readonly log: Logger;
}

/** An answer that takes longer is none. */
const answerWithinMs = 4_000;
const retryMs = 1_000;

/** Keeps the note while this process leads, and merely looks at it while it does not: that tells whether the API server answers. */
export class LeaderNote {
  readonly #client: KubeClient;
  readonly #options: LeaderNoteOptions;
  readonly #log: Logger;
  #leads = false;
  readonly #changed = new Trigger();

  constructor(client: KubeClient, options: LeaderNoteOptions) {
    this.#client = client;
    this.#options = options;
    this.#log = options.log.child({ lease: `${options.namespace}/${options.name}` });
  }

  /** From now on the note says that this process leads. */
  lead(): void {
    this.#leads = true;
    this.#changed.fire();
  }

  /** Runs until `signal` aborts; then takes the note back, if it is ours. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, everyMs = 5_000, onAnswer } = this.#options;
    let answered = true;
    while (!signal.aborted) {
      this.#changed.clear();
      const answers = await this.#try(signal);
      // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- it may abort meanwhile
      if (signal.aborted) break;
      if (answers !== answered) {
        this.#log.warn(
          { answers },
          answers ? 'the API server answers again' : 'the API server does not answer',
        );
      }
      answered = answers;
      onAnswer?.(answers);
      await this.#changed.wait(clock, answers ? everyMs : retryMs, signal);
    }
    if (this.#leads) await this.#takeBack();
  }

  async #try(signal: AbortSignal): Promise<boolean> {
    const limit = deadline(this.#options.clock, answerWithinMs, 'the leader note', signal);
    try {
      const present = await this.#read(limit.signal);
      if (this.#leads) await this.#write(present, limit.signal);
      return true;
    } catch (thrown) {
      if (isConflict(thrown) || isAlreadyExists(thrown)) return true;
      this.#log.debug({ err: asError(thrown) }, 'cannot read or write the leader note');
      return false;
    } finally {
      limit.dispose();
    }
  }

  async #read(signal: AbortSignal): Promise<Lease | undefined> {
    try {
      return await this.#client.get(leases, this.#options, signal);
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  #write(present: Lease | undefined, signal: AbortSignal): Promise<Lease> {
    const { namespace, name, identity, clock, everyMs = 5_000 } = this.#options;
    const now = microTime(clock.now());
    const before = present?.spec;
    const isOurs = before?.holderIdentity === identity;
    const transitions = before?.leaseTransitions ?? 0;
    const spec = {
      ...before,
      holderIdentity: identity,
      leaseDurationSeconds: Math.max(1, Math.ceil((3 * everyMs) / 1000)),
      acquireTime: isOurs ? (before.acquireTime ?? now) : now,
      renewTime: now,
      leaseTransitions: isOurs || present === undefined ? transitions : transitions + 1,
    };
    return present === undefined
      ? this.#client.create(leases, { metadata: { namespace, name }, spec }, signal)
      : this.#client.update(leases, { ...present, spec }, signal);
  }

  /** Best effort: a note that stays is merely out of date. */
  async #takeBack(): Promise<void> {
    const limit = deadline(this.#options.clock, answerWithinMs, 'the leader note');
    try {
      const present = await this.#read(limit.signal);
      if (present?.spec?.holderIdentity !== this.#options.identity) return;
      const spec = { ...present.spec, holderIdentity: '' };
      await this.#client.update(leases, { ...present, spec }, limit.signal);
    } catch (thrown) {
      this.#log.debug({ err: asError(thrown) }, 'could not take the leader note back');
    } finally {
      limit.dispose();
    }
  }
}
