/**
 * What nap keeps in sets and maps of its nftables table, and how changes reach the kernel. Pure; the applier is
 * agent/host/element-applier.ts.
 *
 * 1. Everything that grows with the cluster (virtual IPs, endpoints, permissions, mesh ports) is an *element* of a named set or
 *    map; the rules that look elements up are few and constant (`Chain`s). So a change is a few elements, whatever the
 *    cluster's size: nft reads no other elements for it, and the kernel finds them by hash.
 * 2. A *builder* (virtual-ips.ts is the model) knows the domain. It turns facts into `put` and `remove` of elements, for what has
 *    changed only, in any order.
 * 3. The *ledger* remembers what the kernel holds and what is to be otherwise. A batch of changes is one script, which the kernel
 *    takes in one transaction: no packet meets half of it.
 * 4. After a failure, or when somebody else has changed the table, the ledger knows nothing (`distrust`). The applier
 *    then reads the table and `adopt`s it: what is wanted stays, what differs becomes the next batch. An agent's restart is the same:
 *    what the kernel has goes on working and only the difference is written.
 * 5. Several builders share one ledger, each with sets of its own, so that their changes go together.
 */
import { chainLines, tableName, type Chain } from './ruleset.ts';

/** A named set or map of table `nap` (family `ip`, if not said otherwise), by its nft declaration. */
export interface SetDeclaration {
  readonly name: string;
  readonly family?: 'ip6';
  readonly kind: 'set' | 'map';
  /** For example `type ipv4_addr : verdict`. */
  readonly type: string;
}

/** One element that is to be otherwise. Data of a set's elements is the empty string. */
export interface ElementChange {
  readonly set: string;
  /** As nft prints it: `10.78.0.1 . 3`. */
  readonly key: string;
  /** What the kernel holds; undefined: it has no such element. */
  readonly before: string | undefined;
  readonly after: string | undefined;
}

/** Elements by set, then by key. */
export type Elements = ReadonlyMap<string, ReadonlyMap<string, string>>;

/** The lines that declare sets; harmless when they are there already. */
export function declarationLines(sets: readonly SetDeclaration[]): readonly string[] {
  return sets.map(
    ({ kind, name, family = 'ip', type }) =>
      `add ${kind} ${family} ${tableName} ${name} { ${type}; }`,
  );
}

interface Book {
  /** As the kernel holds it, as far as is known. */
  readonly applied: Map<string, string>;
  /** What is to be otherwise; undefined: not to be there. */
  readonly pending: Map<string, string | undefined>;
}

/** A batch on its way to the kernel. */
export interface Batch {
  readonly changes: readonly ElementChange[];
  readonly chains: readonly Chain[];
}

/** Elements of sets and maps of one table. */
export class ElementLedger {
  readonly sets: readonly SetDeclaration[];
  readonly #books: ReadonlyMap<string, Book>;
  readonly #chains = new Map<string, Chain>();
  readonly #freshChains = new Set<string>();
  /** Whether `applied` is what the kernel holds. */
  #isKnown = false;
  #inFlight: Batch | undefined;

  constructor(sets: readonly SetDeclaration[]) {
    this.sets = sets;
    this.#books = new Map(
      sets.map(({ name }) => [name, { applied: new Map(), pending: new Map() }] as const),
    );
  }

  /** Of the table. */
  get family(): 'ip' | 'ip6' {
    return this.sets[0]?.family ?? 'ip';
  }

  /** Whether it knows what the kernel holds. */
  get known(): boolean {
    return this.#isKnown;
  }

  /** Chains that elements refer to. They are never taken back: there are few, whatever refers to them. */
  get chains(): Iterable<Chain> {
    return this.#chains.values();
  }

  /** Number of elements that are wanted, roughly. */
  get size(): number {
    let size = 0;
    for (const { applied, pending } of this.#books.values()) {
      size += Math.max(applied.size, pending.size);
    }
    return size;
  }

  /** What is wanted under `key`. */
  get(set: string, key: string): string | undefined {
    const { applied, pending } = this.#book(set);
    return pending.has(key) ? pending.get(key) : applied.get(key);
  }

  put(set: string, key: string, data = ''): void {
    this.#want(set, key, data);
  }

  remove(set: string, key: string): void {
    this.#want(set, key, undefined);
  }

  /** Elements are going to refer to this chain. */
  need(chain: Chain): void {
    if (this.#chains.has(chain.name)) return;
    this.#chains.set(chain.name, chain);
    this.#freshChains.add(chain.name);
  }

  /** The kernel may hold anything. */
  distrust(): void {
    this.#isKnown = false;
  }

  /**
   * Takes what the kernel holds for true. With `keepUnknown`, elements that nobody wants stay as they are, because what they
   * stand for could not be read. Returns the number of elements that were not as they were believed to be.
   */
  adopt(observed: Elements, keepUnknown = false): number {
    let surprises = 0;
    // Of a batch whose outcome is unknown, either is as believed.
    const sent = new Map(this.#inFlight?.changes.map((c) => [`${c.set} ${c.key}`, c.after]));
    this.#inFlight = undefined;
    for (const [name, { applied, pending }] of this.#books) {
      const found = observed.get(name) ?? new Map<string, string>();
      const wanted = new Map(applied);
      for (const [key, data] of pending) {
        if (data === undefined) wanted.delete(key);
        else wanted.set(key, data);
      }
      const isSurprise = (key: string): boolean => {
        const data = found.get(key);
        const id = `${name} ${key}`;
        return applied.get(key) !== data && !(sent.has(id) && sent.get(id) === data);
      };
      for (const key of new Set([...found.keys(), ...applied.keys()])) {
        if (isSurprise(key)) surprises++;
      }
      const removed = new Set(
        [...pending].filter(([, data]) => data === undefined).map(([k]) => k),
      );
      applied.clear();
      pending.clear();
      for (const [key, data] of found) {
        applied.set(key, data);
        if (!wanted.has(key) && (!keepUnknown || removed.has(key))) pending.set(key, undefined);
      }
      for (const [key, data] of wanted) if (found.get(key) !== data) pending.set(key, data);
    }
    // After a failure, they may be what was missing.
    if (!this.#isKnown) for (const name of this.#chains.keys()) this.#freshChains.add(name);
    this.#isKnown = true;
    return surprises;
  }

  /** All that is to be otherwise, or undefined when nothing is. What is taken must be settled or distrusted. */
  take(): Batch | undefined {
    if (!this.#isKnown) throw new Error('read the kernel first');
    const changes: ElementChange[] = [];
    for (const [set, { applied, pending }] of this.#books) {
      for (const [key, after] of pending) {
        changes.push({ set, key, before: applied.get(key), after });
      }
    }
    const chains = [...this.#freshChains].flatMap((name) => this.#chains.get(name) ?? []);
    if (changes.length === 0 && chains.length === 0) return undefined;
    this.#inFlight = { changes, chains };
    return this.#inFlight;
  }

  /** The kernel has taken the batch. */
  settle(batch: Batch): void {
    if (this.#inFlight !== batch) return;
    this.#inFlight = undefined;
    for (const { set, key, after } of batch.changes) {
      const { applied, pending } = this.#book(set);
      if (after === undefined) applied.delete(key);
      else applied.set(key, after);
      // It may have been asked for something else meanwhile.
      if (pending.get(key) === after) pending.delete(key);
    }
    for (const { name } of batch.chains) this.#freshChains.delete(name);
  }

  #want(set: string, key: string, data: string | undefined): void {
    const { applied, pending } = this.#book(set);
    // While a batch is on its way, `applied` is about to change.
    if (this.#inFlight === undefined && applied.get(key) === data) {
      // Before the first reading, "not there" is a guess.
      if (this.#isKnown || data !== undefined) pending.delete(key);
      else pending.set(key, data);
    } else {
      pending.set(key, data);
    }
  }

  #book(set: string): Book {
    const book = this.#books.get(set);
    if (book === undefined) throw new Error(`there is no set ${set}`);
    return book;
  }
}

/** A script for `nft -f -`: chains first, then what goes, then what comes. The table must be there. */
export function batchScript({ changes, chains }: Batch, sets: readonly SetDeclaration[]): string {
  const lines = [...declarationLines(sets), ...chainLines(chains)];
  for (const { name, family = 'ip' } of sets) {
    const own = changes.filter(({ set }) => set === name);
    const gone = own.filter(({ before }) => before !== undefined).map(({ key }) => key);
    const come = own.flatMap(({ key, after }) =>
      after === undefined ? [] : [after === '' ? key : `${key} : ${after}`],
    );
    // An element's data cannot be changed in place.
    if (gone.length > 0) {
      lines.push(`delete element ${family} ${tableName} ${name} { ${gone.join(', ')} }`);
    }
    if (come.length > 0)
      lines.push(`add element ${family} ${tableName} ${name} { ${come.join(', ')} }`);
  }
  return lines.join('\n') + '\n';
}

/** Reads the elements of all sets and maps out of `nft list table`. */
export function parseElements(listing: string): Elements {
  const result = new Map<string, ReadonlyMap<string, string>>();
  // Blocks of one tab of indentation; elements hold no braces.
  for (const block of listing.matchAll(/^\t(?:set|map) (\S+) \{\n([\s\S]*?)^\t\}/gm)) {
    const [, name = '', body = ''] = block;
    const elements = new Map<string, string>();
    const list = /elements = \{([^}]*)\}/.exec(body)?.[1] ?? '';
    for (const element of list.split(',')) {
      const [key = '', data = ''] = element.split(' : ').map((part) => part.trim());
      if (key !== '') elements.set(key, data);
    }
    result.set(name, elements);
  }
  return result;
}
