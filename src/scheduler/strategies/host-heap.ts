import { mixHashes } from '../hash.ts';
import type { HostState } from '../host-state.ts';
import type { Selection, SelectionContext } from '../strategy.ts';
import type { Ranking } from './ranking.ts';

/**
 * A binary heap of hosts by rank. Building it costs O(hosts), each choice O(log hosts); filters run on the host at the
 * top only, so what does not matter is not looked at.
 */
export class HostHeap implements Selection {
  readonly #ranking: Ranking;
  readonly #hosts: readonly HostState[];
  readonly #first: Float64Array;
  readonly #second: Float64Array;
  readonly #tie: Uint32Array;
  /** Indices into the arrays above, in heap order. */
  readonly #heap: Int32Array;
  #size: number;

  constructor(hosts: readonly HostState[], ranking: Ranking, context: SelectionContext) {
    const size = hosts.length;
    this.#ranking = ranking;
    this.#hosts = hosts;
    this.#first = new Float64Array(size);
    this.#second = new Float64Array(size);
    this.#tie = new Uint32Array(size);
    this.#heap = new Int32Array(size);
    this.#size = size;
    for (let i = 0; i < size; i += 1) {
      const host = hosts[i];
      if (host === undefined) break;
      this.#first[i] = ranking.first(host);
      this.#second[i] = ranking.second(host);
      this.#tie[i] = mixHashes(context.tieHash, host.hash);
      this.#heap[i] = i;
    }
    for (let i = (size >> 1) - 1; i >= 0; i -= 1) this.#sink(i);
  }

  next(fits: (host: HostState) => boolean): HostState | undefined {
    while (this.#size > 0) {
      const host = this.#hosts[this.#heap[0] ?? 0];
      if (host !== undefined && fits(host)) return host;
      this.#size -= 1;
      this.#heap[0] = this.#heap[this.#size] ?? 0;
      this.#sink(0);
    }
    return undefined;
  }

  placed(host: HostState): void {
    const top = this.#heap[0] ?? 0;
    this.#first[top] = this.#ranking.first(host);
    this.#second[top] = this.#ranking.second(host);
    this.#sink(0);
  }

  #sink(start: number): void {
    const heap = this.#heap;
    let parent = start;
    const moving = heap[parent] ?? 0;
    for (;;) {
      let child = 2 * parent + 1;
      if (child >= this.#size) break;
      if (child + 1 < this.#size && this.#before(heap[child + 1] ?? 0, heap[child] ?? 0))
        child += 1;
      if (!this.#before(heap[child] ?? 0, moving)) break;
      heap[parent] = heap[child] ?? 0;
      parent = child;
    }
    heap[parent] = moving;
  }

  #before(a: number, b: number): boolean {
    const first = (this.#first[a] ?? 0) - (this.#first[b] ?? 0);
    if (first !== 0) return first < 0;
    const second = (this.#second[a] ?? 0) - (this.#second[b] ?? 0);
    if (second !== 0) return second < 0;
    const tie = (this.#tie[a] ?? 0) - (this.#tie[b] ?? 0);
    if (tie !== 0) return tie < 0;
    return a < b;
  }
}
