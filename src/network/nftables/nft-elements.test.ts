import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  batchScript,
  ElementLedger,
  parseElements,
  type Batch,
  type Elements,
  type SetDeclaration,
} from './nft-elements.ts';

const sets: readonly SetDeclaration[] = [
  { name: 'a', kind: 'map', type: 'type ipv4_addr : verdict' },
  { name: 'b', kind: 'set', type: 'type ipv4_addr' },
];

/** A kernel that takes scripts as nft does: all or nothing, and strict about what is there. */
class FakeKernel {
  readonly elements = new Map(sets.map(({ name }) => [name, new Map<string, string>()]));

  run(script: string): void {
    const next = new Map([...this.elements].map(([name, map]) => [name, new Map(map)]));
    for (const line of script.split('\n')) {
      const [, verb, set = '', list = ''] =
        /^(add|delete) element ip nap (\S+) \{ (.*) \}$/.exec(line) ?? [];
      for (const element of verb === undefined ? [] : list.split(', ')) {
        const [key = '', data = ''] = element.split(' : ');
        const map = next.get(set);
        if (map?.has(key) !== (verb === 'delete')) throw new Error(`${verb} ${key}: refused`);
        if (verb === 'delete') map.delete(key);
        else map.set(key, data);
      }
    }
    for (const [name, map] of next) this.elements.set(name, map);
  }

  get state(): object {
    return Object.fromEntries(
      [...this.elements].map(([name, map]) => [name, Object.fromEntries([...map].sort())]),
    );
  }
}

type Action =
  | { type: 'put'; set: 'a' | 'b'; key: string; data: string }
  | { type: 'remove'; set: 'a' | 'b'; key: string }
  /** Writes; `fails`: the kernel refuses; `during`: asked for while the batch is on its way. */
  | { type: 'flush'; fails: boolean; during: readonly Action[] }
  /** Somebody else changes the kernel. */
  | { type: 'meddle'; set: 'a' | 'b'; key: string; data: string | undefined };

const key = fc.constantFrom('10.0.0.1', '10.0.0.2', '10.0.0.3');
const set = fc.constantFrom('a' as const, 'b' as const);
const edit: fc.Arbitrary<Action> = fc.oneof(
  fc.record({
    type: fc.constant('put' as const),
    set,
    key,
    data: fc.constantFrom('goto x', 'goto y'),
  }),
  fc.record({ type: fc.constant('remove' as const), set, key }),
);
const action: fc.Arbitrary<Action> = fc.oneof(
  { weight: 5, arbitrary: edit },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant('flush' as const),
      fails: fc.boolean(),
      during: fc.array(edit, { maxLength: 3 }),
    }),
  },
  fc.record({
    type: fc.constant('meddle' as const),
    set,
    key,
    data: fc.constantFrom('goto z', undefined),
  }),
);

describe('ElementLedger', () => {
  it('brings the kernel to what is wanted, whatever happened on the way', () => {
    fc.assert(
      fc.property(fc.array(action, { maxLength: 40 }), (actions) => {
        const ledger = new ElementLedger(sets);
        const kernel = new FakeKernel();
        const wanted = { a: new Map<string, string>(), b: new Map<string, string>() };
        const write = (fails: boolean, during: readonly Action[] = []): void => {
          if (!ledger.known) ledger.adopt(kernel.elements);
          const batch = ledger.take();
          for (const each of during) perform(each);
          if (batch === undefined) return;
          try {
            if (fails) throw new Error('killed');
            kernel.run(batchScript(batch, sets));
            ledger.settle(batch);
          } catch {
            ledger.distrust();
          }
        };
        const perform = (each: Action): void => {
          if (each.type === 'put') {
            const data = each.set === 'a' ? each.data : '';
            ledger.put(each.set, each.key, data);
            wanted[each.set].set(each.key, data);
          } else if (each.type === 'remove') {
            ledger.remove(each.set, each.key);
            wanted[each.set].delete(each.key);
          } else if (each.type === 'flush') {
            write(each.fails, each.during);
          } else {
            const map = kernel.elements.get(each.set);
            const data = each.set === 'a' ? each.data : each.data && '';
            if (data === undefined) map?.delete(each.key);
            else map?.set(each.key, data);
          }
        };
        for (const each of actions) perform(each);
        ledger.adopt(kernel.elements);
        write(false);
        expect(kernel.state).toEqual({
          a: Object.fromEntries([...wanted.a].sort()),
          b: Object.fromEntries([...wanted.b].sort()),
        });
        expect(ledger.take()).toBeUndefined();
      }),
    );
  });

  it('writes what differs only', () => {
    const ledger = new ElementLedger(sets);
    ledger.put('a', '10.0.0.1', 'goto x');
    ledger.put('a', '10.0.0.2', 'goto x');
    ledger.adopt(
      elements({ a: { '10.0.0.1': 'goto x', '10.0.0.2': 'goto y', '10.0.0.9': 'goto x' } }),
    );
    expect(taken(ledger)).toEqual(['- 10.0.0.9', '10.0.0.2: goto y → goto x']);
    ledger.put('a', '10.0.0.2', 'goto y');
    ledger.put('a', '10.0.0.2', 'goto x');
    expect(ledger.take()).toBeUndefined();
  });

  it('leaves what nobody wants where not everything could be read, but what was given up', () => {
    const ledger = new ElementLedger(sets);
    ledger.remove('a', '10.0.0.8');
    ledger.adopt(elements({ a: { '10.0.0.8': 'goto x', '10.0.0.9': 'goto x' } }), true);
    expect(taken(ledger)).toEqual(['- 10.0.0.8']);
  });

  it('makes chains before elements go to them, and again after something was wrong', () => {
    const ledger = new ElementLedger(sets);
    ledger.adopt(new Map());
    ledger.need({ name: 'spread-2', rules: ['accept'] });
    ledger.need({ name: 'spread-2', rules: ['accept'] });
    ledger.put('a', '10.0.0.1', 'goto spread-2');
    const batch = ledger.take() as Batch;
    const script = batchScript(batch, sets);
    expect(script.indexOf('add chain ip nap spread-2')).toBeLessThan(script.indexOf('add element'));
    expect(script.match(/add chain/g)).toHaveLength(1);
    ledger.settle(batch);
    expect(ledger.take()).toBeUndefined();
    ledger.distrust();
    ledger.adopt(elements({ a: { '10.0.0.1': 'goto spread-2' } }));
    expect(ledger.take()?.chains.map(({ name }) => name)).toEqual(['spread-2']);
  });
});

describe('a listing', () => {
  it('is read as nft prints it', () => {
    const listing = `table ip nap {
\tmap eps {
\t\ttypeof ip daddr . numgen random mod 4 : ip daddr
\t\telements = { 10.78.0.1 . 0 : 10.77.1.9,
\t\t\t     10.78.0.1 . 300 : 10.77.1.4 }
\t}

\tmap spread {
\t\ttype ipv4_addr : verdict
\t\telements = { 10.78.0.1 : goto spread-4 }
\t}

\tset pairs {
\t\ttype ipv4_addr . ipv4_addr
\t\telements = { 10.77.1.4 . 10.77.1.4, 10.77.1.5 . 10.77.1.5 }
\t}

\tset none {
\t\ttype ipv4_addr
\t}

\tchain spread-4 {
\t\tdnat to ip daddr . numgen random mod 4 map @eps
\t}
}
`;
    expect(
      Object.fromEntries([...parseElements(listing)].map(([n, m]) => [n, Object.fromEntries(m)])),
    ).toEqual({
      eps: { '10.78.0.1 . 0': '10.77.1.9', '10.78.0.1 . 300': '10.77.1.4' },
      spread: { '10.78.0.1': 'goto spread-4' },
      pairs: { '10.77.1.4 . 10.77.1.4': '', '10.77.1.5 . 10.77.1.5': '' },
      none: {},
    });
  });
});

function elements(of: Record<string, Record<string, string>>): Elements {
  return new Map(Object.entries(of).map(([name, map]) => [name, new Map(Object.entries(map))]));
}

function taken(ledger: ElementLedger): string[] {
  const batch = ledger.take();
  if (batch !== undefined) ledger.settle(batch);
  return (batch?.changes ?? [])
    .map(({ key: k, before, after }) =>
      after === undefined ? `- ${k}` : `${k}: ${before ?? 'nothing'} → ${after}`,
    )
    .sort();
}
