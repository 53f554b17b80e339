import { expect, it } from 'vitest';
import { collectionPath, configMaps, hosts, objectPath, projects } from './resources.ts';
import { microTime, wholeSecondsTime } from './times.ts';

it('paths are where an API server serves them', () => {
  expect(collectionPath(configMaps)).toBe('/api/v1/configmaps');
  expect(collectionPath(configMaps, 'a')).toBe('/api/v1/namespaces/a/configmaps');
  expect(objectPath(projects, { namespace: 'a', name: 'p' }, 'status')).toBe(
    '/apis/nap.dev/v1alpha1/namespaces/a/projects/p/status',
  );
  expect(objectPath(hosts, { namespace: 'ignored', name: 'h' })).toBe(
    '/apis/nap.dev/v1alpha1/hosts/h',
  );
});

it('a name cannot leave its place in the path, nor can a namespace be forgotten', () => {
  expect(objectPath(projects, { namespace: '../x', name: 'p/../../q?a' })).toBe(
    '/apis/nap.dev/v1alpha1/namespaces/..%2Fx/projects/p%2F..%2F..%2Fq%3Fa',
  );
  expect(() => objectPath(projects, { name: 'p' })).toThrow(TypeError);
});

it('times have the digits that each kind demands', () => {
  const at = Date.parse('2026-01-02T03:04:05.678Z');
  expect(microTime(at)).toBe('2026-01-02T03:04:05.678000Z');
  expect(wholeSecondsTime(at)).toBe('2026-01-02T03:04:05Z');
});
