import { describe, expect, it } from 'vitest';
import { inOrder, validateBonds } from './bonds.ts';

type Services = Parameters<typeof validateBonds>[0];
const errors = (services: Record<string, Services[number][1]>): string[] =>
  validateBonds(Object.entries(services)).map(({ path, message }) => `${path}: ${message}`);

describe('validateBonds', () => {
  it('names the circle', () => {
    expect(
      errors({
        web: { dependsOn: { api: {} } },
        api: { requires: ['db'] },
        db: { partOf: ['web'] },
      }),
    ).toEqual([
      'spec.services.web: depends on itself in a circle, so none of them could ever start: web → api → db → web',
    ]);
  });

  it.each([
    [
      { web: { dependsOn: { dbb: {} } }, db: {} },
      'spec.services.web.dependsOn.dbb: there is no service "dbb"',
    ],
    [{ web: { bindsTo: ['web'] } }, 'spec.services.web.bindsTo[0]: is the service itself'],
    [
      {
        web: { dependsOn: { job: { condition: 'completed' as const } } },
        job: { restart: 'always' },
      },
      'spec.services.web.dependsOn.job.condition: "job" is started again whenever it ends',
    ],
    [
      { web: { requires: ['db'], conflictsWith: ['db'] }, db: {} },
      'spec.services.web.conflictsWith[0]: "db" is needed and excluded at once',
    ],
    [
      { a: { conflictsWith: ['b'] }, b: { conflictsWith: ['a'] } },
      'spec.services.a.conflictsWith[0]: each stops the other',
    ],
    [
      { web: { wants: ['db'], dependsOn: { db: {} } }, db: {} },
      'spec.services.web.wants[0]: dependsOn waits for "db" whatever happens',
    ],
    [{ web: { wants: ['cache'] } }, 'spec.services.web.wants[0]: there is no service "cache"'],
    [
      { a: { wants: ['b'] }, b: { wants: ['a'] } },
      'spec.services.a: depends on itself in a circle, so none of them could ever start: a → b → a',
    ],
    [
      {
        web: { dependsOn: { data: { condition: 'completed' as const } } },
        data: { start: false, restart: 'always' },
      },
      'spec.services.web.dependsOn.data.condition: "data" is never started',
    ],
  ])('refuses %j', (services, message) => {
    expect(errors(services)[0]).toContain(message);
  });

  it('finds nothing wrong with a diamond', () => {
    const diamond = {
      a: { dependsOn: { b: {}, c: {} } },
      b: { dependsOn: { d: {} } },
      c: { dependsOn: { d: {} } },
      d: {},
    };
    expect(errors(diamond)).toEqual([]);
    expect(inOrder(Object.entries(diamond))).toEqual(['d', 'b', 'c', 'a']);
  });
});
