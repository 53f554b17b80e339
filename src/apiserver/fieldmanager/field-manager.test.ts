import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { JsonObject } from '../../api/json.ts';
import type { JsonSchema } from '../schema/types.ts';
import { ApplyError, applyPatch, describeConflicts, trackUpdate } from './field-manager.ts';
import type { ManagedFieldsEntry } from './field-manager.ts';
import { FieldSet } from './field-set.ts';
import { fieldSetOf, mergeTypeOf } from './typed.ts';

const schema: JsonSchema = {
  type: 'object',
  properties: {
    spec: {
      type: 'object',
      properties: {
        image: { type: 'string' },
        replicas: { type: 'integer' },
        environment: { type: 'object', additionalProperties: { type: 'string' } },
        command: { type: 'array', items: { type: 'string' } },
        tags: { type: 'array', items: { type: 'string' }, 'x-kubernetes-list-type': 'set' },
        whole: {
          type: 'object',
          'x-kubernetes-map-type': 'atomic',
          additionalProperties: { type: 'string' },
        },
        ports: {
          type: 'array',
          'x-kubernetes-list-type': 'map',
          'x-kubernetes-list-map-keys': ['name'],
          items: {
            type: 'object',
            required: ['name'],
            properties: { name: { type: 'string' }, number: { type: 'integer' } },
          },
        },
        resources: {
          type: 'object',
          properties: { limits: { type: 'object', properties: { pids: { type: 'integer' } } } },
        },
      },
    },
    status: { type: 'object', properties: { state: { type: 'string' } } },
  },
};

const apiVersion = 'nap.dev/v1alpha1';
const now = new Date('2026-01-01T12:00:00.5Z');
const later = new Date('2026-01-02T12:00:00Z');
const context = { apiVersion, schema, now };

function object(spec: JsonObject, metadata: JsonObject = {}): JsonObject {
  return { apiVersion, kind: 'Service', metadata: { name: 'web', ...metadata }, spec };
}

interface ApplyOptions {
  readonly force?: boolean;
  readonly now?: Date;
  readonly subresource?: string;
}

function conflictsOf(live: JsonObject | undefined, applied: JsonObject, manager: string) {
  const result = applyPatch({ ...context, live, applied, manager, force: false });
  return 'conflicts' in result ? result.conflicts : [];
}

function apply(
  live: JsonObject | undefined,
  applied: JsonObject,
  manager: string,
  options: ApplyOptions = {},
): JsonObject {
  const result = applyPatch({ ...context, live, applied, manager, force: false, ...options });
  if ('conflicts' in result) throw new Error(describeConflicts(result.conflicts).message);
  return result.object;
}

function update(
  live: JsonObject | undefined,
  next: JsonObject,
  manager: string,
  more = {},
): JsonObject {
  return trackUpdate({ ...context, live, next, manager, operation: 'Update', ...more });
}

function entries(of: JsonObject): ManagedFieldsEntry[] {
  return ((of['metadata'] as JsonObject)['managedFields'] ?? []) as ManagedFieldsEntry[];
}

function owned(of: JsonObject, manager: string): FieldSet {
  return entries(of)
    .filter((entry) => entry.manager === manager)
    .map((entry) => FieldSet.fromFieldsV1(entry.fieldsV1))
    .reduce((a, b) => a.union(b), new FieldSet());
}

const spec = (of: JsonObject): JsonObject => of['spec'] as JsonObject;

describe('server-side apply', () => {
  it('records what was applied, in the form of Kubernetes', () => {
    const made = apply(
      undefined,
      object({
        image: 'a',
        environment: { A: '1' },
        ports: [{ name: 'http', number: 80 }],
        tags: ['x'],
        command: ['c'],
      }),
      'm',
    );
    expect(entries(made)).toEqual([
      {
        manager: 'm',
        operation: 'Apply',
        apiVersion,
        time: '2026-01-01T12:00:00Z',
        fieldsType: 'FieldsV1',
        fieldsV1: {
          'f:spec': {
            'f:command': {},
            'f:environment': { 'f:A': {} },
            'f:image': {},
            'f:ports': { 'k:{"name":"http"}': { '.': {}, 'f:name': {}, 'f:number': {} } },
            'f:tags': { 'v:"x"': {} },
          },
        },
      },
    ]);
  });

  it('merges maps, sets and lists by key; takes atomic parts whole', () => {
    const first = object({
      environment: { A: '1' },
      tags: ['x'],
      ports: [{ name: 'a', number: 1 }],
    });
    const live = apply(undefined, first, 'one');
    const both = apply(
      live,
      object({ environment: { B: '2' }, tags: ['y'], ports: [{ name: 'b', number: 2 }] }),
      'two',
    );
    expect(spec(both)).toEqual({
      environment: { A: '1', B: '2' },
      tags: ['x', 'y'],
      ports: [
        { name: 'a', number: 1 },
        { name: 'b', number: 2 },
      ],
    });
    const whole = apply(undefined, object({ whole: { a: '1' } }), 'one');
    expect(conflictsOf(whole, object({ whole: { b: '2' } }), 'two')).toMatchObject([
      { path: '.spec.whole' },
    ]);
  });

  it('keeps the applied order of list items, and foreign items among their neighbours', () => {
    const ports = (...names: string[]) => object({ ports: names.map((name) => ({ name })) });
    const live = apply(apply(undefined, ports('a', 'b', 'c'), 'one'), ports('x', 'b'), 'two');
    const names = (of: JsonObject) =>
      (spec(of)['ports'] as { name: string }[]).map(({ name }) => name).join('');
    expect(names(live)).toBe('axbc');
    expect(names(apply(live, ports('c', 'b', 'a'), 'one'))).toMatch(/c.*b.*a/);
  });

  it('refuses to take over a field with another value, unless forced', () => {
    const live = apply(undefined, object({ image: 'a', replicas: 1 }), 'one');
    const wanted = object({ image: 'b', replicas: 1 });
    const found = conflictsOf(live, wanted, 'two');
    expect(describeConflicts(found)).toEqual({
      message: 'Apply failed with 1 conflict: conflict with "one": .spec.image',
      causes: [
        { reason: 'FieldManagerConflict', message: 'conflict with "one"', field: '.spec.image' },
      ],
    });
    const forced = apply(live, wanted, 'two', { force: true });
    expect(spec(forced)).toEqual({ image: 'b', replicas: 1 });
    expect(owned(forced, 'one').equals(FieldSet.of(['f:spec', 'f:replicas']))).toBe(true);
    expect(
      owned(forced, 'two').equals(FieldSet.of(['f:spec', 'f:image'], ['f:spec', 'f:replicas'])),
    ).toBe(true);
  });

  it('names several conflicts by manager, with the version of an updater', () => {
    const live = update(undefined, object({ image: 'a', replicas: 1 }), 'kubectl-edit');
    const found = conflictsOf(live, object({ image: 'b', replicas: 2 }), 'two');
    expect(describeConflicts(found).message).toBe(
      'Apply failed with 2 conflicts: conflicts with "kubectl-edit" using nap.dev/v1alpha1:\n' +
        '- .spec.image\n- .spec.replicas',
    );
  });

  it('removes what it alone owned and no longer sends, with emptied parents', () => {
    const live = apply(
      undefined,
      object({ image: 'a', resources: { limits: { pids: 5 } } }),
      'one',
    );
    expect(spec(apply(live, object({ image: 'a' }), 'one'))).toEqual({ image: 'a' });
  });

  it('leaves a field that another owner shares', () => {
    let live = apply(undefined, object({ image: 'a', replicas: 2 }), 'one');
    live = apply(live, object({ replicas: 2 }), 'two');
    live = apply(live, object({ image: 'a' }), 'one');
    expect(spec(live)).toEqual({ image: 'a', replicas: 2 });
    expect(spec(apply(live, object({}), 'two'))).toEqual({ image: 'a' });
  });

  it('leaves the fields of updaters and of nobody', () => {
    const live = update(undefined, object({ image: 'a', replicas: 1 }), 'editor');
    const after = apply(apply(live, object({ image: 'a' }), 'one'), object({}), 'one');
    expect(spec(after)).toEqual({ image: 'a', replicas: 1 });
  });

  it('does not move the time when nothing changes', () => {
    const live = apply(undefined, object({ image: 'a' }), 'one');
    expect(apply(live, object({ image: 'a' }), 'one', { now: later })).toEqual(live);
    const changed = apply(live, object({ image: 'b' }), 'one', { now: later });
    expect(entries(changed)[0]?.time).toBe('2026-01-02T12:00:00Z');
  });

  it('never owns or changes what the server keeps', () => {
    const live = object({ image: 'a' }, { uid: 'u1', resourceVersion: '7', generation: 3 });
    const applied = object(
      { image: 'a' },
      { uid: 'zzz', resourceVersion: '1', creationTimestamp: null, labels: { a: 'b' } },
    );
    const after = apply(live, applied, 'one');
    expect(after['metadata']).toMatchObject({
      uid: 'u1',
      resourceVersion: '7',
      generation: 3,
      labels: { a: 'b' },
    });
    const set = owned(after, 'one').toFieldsV1();
    expect(set).toEqual({
      'f:metadata': { 'f:labels': { 'f:a': {} } },
      'f:spec': { 'f:image': {} },
    });
  });

  it('gives the fields of an untracked object an owner before its first apply', () => {
    const live = object({ image: 'a', replicas: 1 });
    const after = apply(live, object({ image: 'a' }), 'one');
    expect(entries(after).map(({ manager, operation }) => [manager, operation])).toEqual([
      ['one', 'Apply'],
      ['before-first-apply', 'Update'],
    ]);
    expect(conflictsOf(live, object({ image: 'b' }), 'one')).toHaveLength(1);
  });

  it.each<[string, JsonObject, string]>([
    ['managedFields', object({}, { managedFields: [{}] }), 'metadata.managedFields must be nil'],
    ['an undeclared field', object({ bogus: 1 }), '.spec.bogus: field not declared in schema'],
    [
      'an item without its key',
      object({ ports: [{ number: 1 }] }),
      '.spec.ports: element 0: the item omits all key fields ["name"]',
    ],
    [
      'two items of one key',
      object({ ports: [{ name: 'a' }, { name: 'a' }] }),
      '.spec.ports: duplicate entries for key [name="a"]',
    ],
  ])('refuses %s', (_, applied, text) => {
    expect(() => apply(undefined, applied, 'one')).toThrow(ApplyError);
    expect(() => apply(undefined, applied, 'one')).toThrow(text);
  });
});

describe('status', () => {
  const withStatus = (state: string, image = 'a') => ({ ...object({ image }), status: { state } });

  it('is never owned through the object itself', () => {
    const made = update(undefined, withStatus('x'), 'one');
    expect(owned(made, 'one').toFieldsV1()).not.toHaveProperty('f:status');
    const applied = apply(made, withStatus('y'), 'two');
    expect(applied['status']).toEqual({ state: 'x' });
    expect(owned(applied, 'two').toFieldsV1()).toEqual({ 'f:spec': { 'f:image': {} } });
  });

  it('is all that a write to the subresource owns or changes', () => {
    const made = update(undefined, object({ image: 'a' }), 'one');
    const options = { subresource: 'status', force: true };
    const body = { ...withStatus('y', 'zzz'), metadata: { name: 'web', labels: { a: 'b' } } };
    const after = apply(made, body, 'ctl', options);
    expect(after['spec']).toEqual({ image: 'a' });
    expect(after['metadata']).not.toHaveProperty('labels');
    expect(after['status']).toEqual({ state: 'y' });
    expect(entries(after).find((entry) => entry.manager === 'ctl')).toMatchObject({
      subresource: 'status',
      fieldsV1: { 'f:status': { 'f:state': {} } },
    });
  });
});

describe('updates', () => {
  it('give the writer what it changed and take it from all others', () => {
    const live = apply(undefined, object({ image: 'a', replicas: 1 }), 'one');
    const next = { ...live, spec: { image: 'b', replicas: 1 } };
    const after = update(live, next, 'editor', { now: later });
    expect(owned(after, 'editor').toFieldsV1()).toEqual({ 'f:spec': { 'f:image': {} } });
    expect(owned(after, 'one').toFieldsV1()).toEqual({ 'f:spec': { 'f:replicas': {} } });
  });

  it('drop removed fields from every set, and managers that own nothing', () => {
    const live = apply(undefined, object({ image: 'a' }), 'one');
    const after = update(live, { ...live, spec: {} }, 'editor');
    expect(entries(after)).toEqual([]);
  });

  it('change nothing, not even a time, when nothing changes', () => {
    const live = update(undefined, object({ image: 'a' }), 'one');
    expect(update(live, structuredClone(live), 'one', { now: later })).toEqual(live);
  });

  it('keep the record when a client drops it, and reset it on request', () => {
    const live = update(undefined, object({ image: 'a' }), 'one');
    const dropped = object({ image: 'a' });
    expect(entries(update(live, dropped, 'two'))).toEqual(entries(live));
    const reset = update(live, object({ image: 'b' }, { managedFields: [{}] }), 'two');
    expect(entries(reset)).toEqual([]);
    // Untracked from then on, until an apply.
    expect(entries(update(reset, object({ image: 'c' }), 'two'))).toEqual([]);
  });

  it('let a client rewrite the record, as kubectl does when it migrates', () => {
    const live = update(undefined, object({ image: 'a' }), 'kubectl-client-side-apply');
    const [entry] = entries(live);
    const next = object(
      { image: 'a' },
      { managedFields: [{ ...entry, manager: 'kubectl', operation: 'Apply' }] },
    );
    expect(entries(update(live, next, 'kubectl')).map((e) => e.manager)).toEqual(['kubectl']);
  });

  it('survive a record and lists that make no sense', () => {
    const broken = object(
      { ports: [{ number: 1 }, 'x', { name: 'a' }, { name: 'a' }], image: ['not text'] },
      { managedFields: [{ manager: 'm', operation: 'Nonsense' }] },
    );
    const after = update(undefined, broken, 'one');
    expect(spec(after)).toEqual(spec(broken));
    expect(update(after, { ...after, spec: 7 }, 'two')['spec']).toBe(7);
  });

  it('fold the oldest updaters together', () => {
    let live = update(undefined, object({ environment: { start: '' } }), 'first');
    for (let i = 0; i < 15; i++) {
      const environment = { ...(spec(live)['environment'] as JsonObject), [`V${i}`]: '1' };
      live = update(live, { ...live, spec: { environment } }, `m${i}`, {
        now: new Date(now.getTime() + i * 1000),
      });
    }
    const names = entries(live).map((entry) => entry.manager);
    expect(names.filter((name) => name !== 'ancient-changes').length).toBeLessThanOrEqual(10);
    expect(names).toContain('ancient-changes');
    expect(names).toContain('m14');
  });
});

describe('moving from client-side to server-side apply', () => {
  const annotation = 'kubectl.kubernetes.io/last-applied-configuration';
  const configured = (image: string) => object({ image });
  const live = update(
    undefined,
    object({ image: 'a' }, { annotations: { [annotation]: JSON.stringify(configured('a')) } }),
    'kubectl-client-side-apply',
  );

  it('does not put kubectl in conflict with itself, and refreshes the annotation', () => {
    const after = apply(live, configured('b'), 'kubectl');
    expect(spec(after)).toEqual({ image: 'b' });
    const annotations = (after['metadata'] as JsonObject)['annotations'] as Record<string, string>;
    expect(JSON.parse(annotations[annotation] ?? '')).toEqual(configured('b'));
  });

  it('still conflicts where somebody changed the field since, or for other managers', () => {
    expect(conflictsOf(live, configured('b'), 'gitops')).toHaveLength(1);
    const edited = update(live, { ...live, spec: { image: 'edited' } }, 'editor');
    expect(conflictsOf(edited, configured('b'), 'kubectl')).toHaveLength(1);
  });
});

const word = fc.constantFrom('a', 'b', 'c');
const specs: fc.Arbitrary<JsonObject> = fc.record(
  {
    image: word,
    replicas: fc.integer({ min: 0, max: 3 }),
    environment: fc.dictionary(word, word),
    command: fc.array(word, { maxLength: 3 }),
    tags: fc.uniqueArray(word),
    whole: fc.dictionary(word, word),
    ports: fc.uniqueArray(
      fc.record({ name: word, number: fc.integer({ min: 1, max: 3 }) }, { requiredKeys: ['name'] }),
      { selector: (port) => port.name },
    ),
    resources: fc.record({ limits: fc.record({ pids: fc.integer({ min: 1, max: 3 }) }) }),
  },
  { requiredKeys: [] },
);
type Step = { readonly manager: string; readonly spec: JsonObject; readonly apply: boolean };
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.record({ manager: fc.constantFrom('m1', 'm2', 'm3'), spec: specs, apply: fc.boolean() }),
  { maxLength: 5 },
);

function play(sequence: readonly Step[]): JsonObject | undefined {
  let live: JsonObject | undefined;
  for (const step of sequence) {
    live = step.apply
      ? apply(live, object(step.spec), step.manager, { force: true })
      : update(
          live,
          { ...live, ...object(step.spec, live?.['metadata'] as JsonObject) },
          step.manager,
        );
  }
  return live;
}

const type = mergeTypeOf(schema);

describe('laws of ownership', () => {
  it('FieldsV1 survives a round trip', () => {
    fc.assert(
      fc.property(specs, (value) => {
        const set = fieldSetOf(object(value), type);
        const wire: unknown = JSON.parse(JSON.stringify(set.toFieldsV1()));
        expect(FieldSet.fromFieldsV1(wire).equals(set)).toBe(true);
      }),
    );
  });

  it('applying the same twice is a no-op', () => {
    fc.assert(
      fc.property(steps, specs, (history, value) => {
        const once = apply(play(history), object(value), 'm1', { force: true });
        expect(apply(once, object(value), 'm1', { now: later })).toEqual(once);
      }),
    );
  });

  it('disjoint applies commute', () => {
    fc.assert(
      fc.property(specs, specs, (a, b) => {
        const rest = Object.fromEntries(Object.entries(b).filter(([key]) => !(key in a)));
        const ab = apply(apply(undefined, object(a), 'm1'), object(rest), 'm2');
        const ba = apply(apply(undefined, object(rest), 'm2'), object(a), 'm1');
        expect(ab).toEqual(ba);
      }),
    );
  });

  it('a forced apply wins everywhere, and its owner owns exactly what it sent', () => {
    fc.assert(
      fc.property(steps, specs, (history, value) => {
        const after = apply(play(history), object(value), 'm1', { force: true });
        const sent = fieldSetOf({ spec: value }, type);
        const entry = entries(after).find((e) => e.manager === 'm1' && e.operation === 'Apply');
        expect(FieldSet.fromFieldsV1(entry?.fieldsV1 ?? {}).equals(sent)).toBe(true);
        const present = [...fieldSetOf(after, type).paths()];
        for (const path of sent.paths()) {
          expect(present.some((p) => startsWith(p, path))).toBe(true);
        }
        const merged = apply(after, object(value), 'somebody-else');
        expect(spec(merged)).toEqual(spec(after));
      }),
    );
  });

  it('nobody owns a field that is not there', () => {
    fc.assert(
      fc.property(steps, (history) => {
        const live = play(history);
        if (!live) return;
        const present = fieldSetOf(live, type);
        for (const entry of entries(live)) {
          const paths = [...FieldSet.fromFieldsV1(entry.fieldsV1).paths()];
          for (const path of paths) {
            expect([...present.paths()].some((p) => startsWith(p, path))).toBe(true);
          }
        }
      }),
      { numRuns: 60 },
    );
  });

  it('a field that is no longer applied goes if and only if nobody else owns it', () => {
    fc.assert(
      fc.property(steps, specs, specs, (history, before, after) => {
        const live = apply(play(history), object(before), 'm1', { force: true });
        const next = apply(live, object(after), 'm1', { force: true });
        const dropped = fieldSetOf(object(before), type).difference(
          fieldSetOf(object(after), type),
        );
        const others = entries(live)
          .filter((e) => !(e.manager === 'm1' && e.operation === 'Apply'))
          .map((e) => FieldSet.fromFieldsV1(e.fieldsV1))
          .reduce((a, b) => a.union(b), new FieldSet());
        const present = [...fieldSetOf(next, type).paths()];
        const replaced = [...fieldSetOf(object(after), type).paths()];
        const has = (paths: string[][], prefix: string[]) =>
          paths.some((path) => startsWith(path, prefix));
        // Who owns a field in a list item does not by that own the item.
        const stays = (path: string[]): boolean =>
          has(replaced, path) ||
          others.has(path) ||
          (path.at(-1)?.startsWith('f:') === true && has([...others.paths()], path));
        for (const path of dropped.paths()) {
          const items = path.flatMap((e, i) => (e.startsWith('k:') ? [path.slice(0, i + 1)] : []));
          expect(has(present, path)).toBe([...items, path].every(stays));
        }
      }),
    );
  });
});

function startsWith(path: readonly string[], prefix: readonly string[]): boolean {
  return prefix.every((element, i) => path[i] === element);
}
