import { describe, expect, it } from 'vitest';
import { humanDuration } from './age.ts';
import { printerColumns } from './columns.ts';
import { compileJsonPath } from './json-path.ts';

describe('humanDuration', () => {
  const [second, minute, hour, day] = [1000, 60_000, 3_600_000, 86_400_000];
  it.each([
    [-5 * second, '<invalid>'],
    [-1 * second, '0s'],
    [0, '0s'],
    [119 * second, '119s'],
    [120 * second, '2m'],
    [190 * second, '3m10s'],
    [10 * minute + 5 * second, '10m'],
    [179 * minute, '179m'],
    [5 * hour + 2 * minute, '5h2m'],
    [47 * hour, '47h'],
    [3 * day + 5 * hour, '3d5h'],
    [9 * day, '9d'],
    [800 * day, '2y70d'],
    [4000 * day, '10y'],
  ])('%d ms is %s', (milliseconds, text) => {
    const expected = text;
    expect(humanDuration(milliseconds)).toBe(expected);
  });
});

describe('compileJsonPath', () => {
  const object = {
    status: {
      conditions: [
        { type: 'Ready', status: 'True' },
        { type: 'Stalled', status: 'False' },
      ],
    },
    metadata: { annotations: { 'a.b/c': 'x' } },
    list: [1, 2, 3],
  };
  it.each([
    ['.status.conditions[?(@.type=="Ready")].status', ['True']],
    [".status.conditions[?(@.type=='Nothing')].status", []],
    ['.status.conditions[*].type', ['Ready', 'Stalled']],
    [".metadata.annotations['a.b/c']", ['x']],
    ['.metadata.annotations.a\\.b/c', ['x']],
    ['.list[0]', [1]],
    ['.list[-1]', [3]],
    ['.nothing.at.all', []],
    ['.constructor', []],
  ])('%s', (path, expected) => {
    expect(compileJsonPath(path)(object)).toEqual(expected);
  });

  it('refuses what it does not support', () => {
    expect(() => compileJsonPath('.a[?(@.b > 3)]')).toThrow(SyntaxError);
  });
});

describe('printerColumns', () => {
  it('gives null for a value of another type', () => {
    const columns = printerColumns([
      { name: 'N', type: 'integer', jsonPath: '.spec.n' },
      { name: 'D', type: 'date', jsonPath: '.spec.d' },
    ]);
    const cells = (spec: unknown): unknown[] =>
      columns
        .slice(1)
        .map((column) => column.read({ apiVersion: 'v', kind: 'K', metadata: {}, spec }, 60_000));
    expect(cells({ n: 'three', d: '1970-01-01T00:00:00Z' })).toEqual([null, '60s']);
    expect(cells({ n: 3, d: 'yesterday' })).toEqual([3, '<invalid>']);
    expect(cells({})).toEqual([null, null]);
  });
});
