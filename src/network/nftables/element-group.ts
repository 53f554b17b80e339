import type { ElementLedger } from './nft-elements.ts';

/** An element of a set, or with its data one of a map. */
export type Element = readonly [set: string, key: string, data?: string];

/** Elements of a ledger that are always given all together. */
export class ElementGroup {
  readonly #ledger: Pick<ElementLedger, 'put' | 'remove'>;
  #held = new Map<string, Element>();

  constructor(ledger: Pick<ElementLedger, 'put' | 'remove'>) {
    this.#ledger = ledger;
  }

  /** Wants these, and none of the earlier ones that are not among them. */
  replace(elements: Iterable<Element>): void {
    const before = this.#held;
    this.#held = new Map();
    for (const element of elements) {
      const [set, key, data] = element;
      this.#held.set(`${set} ${key}`, element);
      this.#ledger.put(set, key, data);
    }
    for (const [id, [set, key]] of before) if (!this.#held.has(id)) this.#ledger.remove(set, key);
  }
}
