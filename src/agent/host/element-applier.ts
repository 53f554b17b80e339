import {
  batchScript,
  parseElements,
  type ElementLedger,
} from '../../network/nftables/nft-elements.ts';
import { tableName } from '../../network/nftables/ruleset.ts';
import { ExecError, type Exec } from './exec.ts';

/** A batch of all services of a large cluster takes nft a while. */
const timeoutMs = 60_000;

/** Brings what a ledger wants into the kernel; see network/nftables/nft-elements.ts. Calls must not overlap. */
export class ElementApplier {
  readonly #exec: Exec;
  readonly #ledger: ElementLedger;
  readonly #keepUnknown: () => boolean;
  readonly #onRepairs: (count: number) => void;
  /** What an earlier agent has left is no surprise. */
  #hasRead = false;
  /** Elements found wrong that have not been put right yet. */
  #wrong = 0;

  /**
   * @param keepUnknown whether elements that nobody wants have to stay, for not everything could be read
   * @param onRepairs this many elements were not as they were left, and are again
   */
  constructor(
    exec: Exec,
    ledger: ElementLedger,
    keepUnknown: () => boolean,
    onRepairs: (count: number) => void = () => undefined,
  ) {
    this.#onRepairs = onRepairs;
    this.#exec = exec;
    this.#ledger = ledger;
    this.#keepUnknown = keepUnknown;
  }

  /**
   * Writes all that is to be otherwise, in one transaction. Returns the number of elements written. When the kernel does not
   * hold what it was believed to, it is read and the rest written. Throws ExecError; then the next call reads the kernel.
   */
  async flush(signal?: AbortSignal): Promise<number> {
    if (!this.#ledger.known) await this.#read(signal);
    const written = await this.#writeOrLook(signal);
    const wrong = this.#wrong;
    this.#wrong = 0;
    if (wrong > 0) this.#onRepairs(wrong);
    return written;
  }

  async #writeOrLook(signal?: AbortSignal): Promise<number> {
    try {
      return await this.#write(signal);
    } catch (error) {
      if (!(error instanceof ExecError) || error.cancelled || error.notFound) throw error;
    }
    await this.#read(signal);
    return this.#write(signal);
  }

  /** Reads the kernel and sets right what differs. */
  async audit(signal?: AbortSignal): Promise<void> {
    await this.#read(signal);
    await this.flush(signal);
  }

  async #write(signal?: AbortSignal): Promise<number> {
    const batch = this.#ledger.take();
    if (batch === undefined) return 0;
    const input = batchScript(batch, this.#ledger.sets);
    try {
      await this.#exec('nft', ['-f', '-'], { input, timeoutMs }, signal);
    } catch (error) {
      // It may have been killed after the kernel took the batch.
      this.#ledger.distrust();
      throw error;
    }
    this.#ledger.settle(batch);
    return batch.changes.length;
  }

  async #read(signal?: AbortSignal): Promise<void> {
    let listing = '';
    const { family } = this.#ledger;
    try {
      const options = { timeoutMs };
      ({ stdout: listing } = await this.#exec(
        'nft',
        ['list', 'table', family, tableName],
        options,
        signal,
      ));
    } catch (error) {
      if (!(error instanceof ExecError && error.stderr.includes('No such file or directory'))) {
        throw error;
      }
      await this.#exec('nft', ['add', 'table', family, tableName], {}, signal);
    }
    const surprises = this.#ledger.adopt(parseElements(listing), this.#keepUnknown());
    if (this.#hasRead) this.#wrong += surprises;
    this.#hasRead = true;
  }
}
