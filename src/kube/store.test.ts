import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { KubeObject } from '../api/v1alpha1/meta.ts';
import { byController, byLabel, joinKey, keyOf, ObjectStore, splitKey } from './store.ts';

const arbitraryObject = fc
  .record({
    namespace: fc.option(fc.constantFrom('a', 'b'), { nil: undefined }),
    name: fc.constantFrom('x', 'y', 'z'),
    app: fc.option(fc.constantFrom('web', 'db'), { nil: undefined }),
  })
  .map(({ namespace, name, app }): KubeObject => ({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: {
      name,
      ...(namespace !== undefined && { namespace }),
      ...(app !== undefined && { labels: { app } }),
    },
  }));

const sorted = (objects: readonly KubeObject[]): string[] => objects.map(keyOf).sort();

describe('ObjectStore', () => {
  it('answers from its indexes as a search through everything would', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.boolean(), arbitraryObject), { maxLength: 50 }), (steps) => {
        const store = new ObjectStore<KubeObject>({ app: byLabel('app') });
        const plain = new Map<string, KubeObject>();
        for (const [put, object] of steps) {
          const key = keyOf(object);
          const previous = put ? store.set(object) : store.delete(key);
          expect(previous).toBe(plain.get(key));
          if (put) plain.set(key, object);
          else plain.delete(key);
        }
        const all = [...plain.values()];
        expect(sorted(store.list())).toEqual(sorted(all));
        expect(store.size).toBe(plain.size);
        for (const ns of ['a', 'b']) {
          expect(sorted(store.list(ns))).toEqual(
            sorted(all.filter((o) => o.metadata.namespace === ns)),
          );
        }
        for (const app of ['web', 'db']) {
          expect(sorted(store.byIndex('app', app))).toEqual(
            sorted(all.filter((o) => o.metadata.labels?.['app'] === app)),
          );
        }
      }),
    );
  });

  it('refuses an index that it does not have', () => {
    expect(() => new ObjectStore().byIndex('nope', 'x')).toThrow(RangeError);
  });

  it('finds what an owner controls, and not what it merely owns', () => {
    const owned = (name: string, controller: boolean): KubeObject => ({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: {
        name,
        ownerReferences: [{ apiVersion: 'v1', kind: 'Pod', name: 'p', uid: 'u1', controller }],
      },
    });
    const store = new ObjectStore<KubeObject>({ owner: byController });
    store.set(owned('mine', true));
    store.set(owned('shared', false));
    expect(sorted(store.byIndex('owner', 'u1'))).toEqual(['mine']);
  });
});

it('keys and names are two forms of the same', () => {
  for (const name of [{ name: 'x' }, { namespace: 'a', name: 'x' }]) {
    expect(splitKey(joinKey(name))).toEqual(name);
  }
});
