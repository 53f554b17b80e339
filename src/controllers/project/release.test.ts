import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Project } from '../../api/v1alpha1/project.ts';
import { planRelease, type Release, type ReleaseFacts, type Revision } from './release.ts';

const now = '2026-01-01T00:00:00Z';

function project(image: string, more: Partial<Project['spec']> = {}, generation = 1): Project {
  return {
    apiVersion: 'nap.dev/v1alpha1',
    kind: 'Project',
    metadata: { name: 'shop', namespace: 'default', uid: 'p1', generation },
    spec: { services: { web: { image, replicas: 2 } }, ...more },
  };
}

/** A project's history, as the operator writes it. */
class History {
  revisions: readonly Revision[] = [];
  #clock = 0;

  decide(asked: Project, facts: Omit<ReleaseFacts, 'revisions'> = {}): Release {
    const at = new Date(Date.parse(now) + ++this.#clock * 1000).toISOString();
    const release = planRelease(asked, { revisions: this.revisions, ...facts }, at);
    if ('refused' in release) throw new Error(release.refused);
    const changed = new Set([...release.put.map(({ number }) => number), ...release.remove]);
    this.revisions = [
      ...this.revisions.filter(({ number }) => !changed.has(number)),
      ...release.put,
    ];
    return release;
  }
}

const failure = (revision: number) => ({
  failure: { revision, service: 'web', message: 'update failed: CrashLoop' },
});
const imageOf = (release: Release): string | undefined =>
  release.project.spec.services['web']?.image;

describe('planRelease', () => {
  it('makes a revision of each spec, but not of another number of replicas', () => {
    const history = new History();
    expect(history.decide(project('web:1')).revision).toBe(1);
    expect(history.decide(project('web:1')).put).toEqual([]);
    const scaled = project('web:1');
    scaled.spec.services['web']!.replicas = 7;
    expect(history.decide(scaled)).toMatchObject({ revision: 1, put: [] });
    expect(history.decide(project('web:2')).revision).toBe(2);
    expect(history.decide(project('web:1')).revision).toBe(3);
  });

  it('goes back to the last revision that was ready when one fails, and stays there', () => {
    const history = new History();
    history.decide(project('web:1'));
    history.decide(project('web:1'), { ready: 1 });
    history.decide(project('web:2'));
    const back = history.decide(project('web:2'), failure(2));
    expect(back).toMatchObject({ revision: 1, wanted: 2, fallback: { running: true } });
    expect(back.fallback?.message).toContain('revision 2 failed: web: update failed: CrashLoop');
    expect(imageOf(back)).toBe('web:1');
    expect(history.decide(project('web:2'), { ready: 1 })).toMatchObject({ revision: 1, put: [] });
    expect(history.decide(project('web:3'))).toMatchObject({ revision: 3, wanted: 3 });
  });

  it('keeps the present number of replicas when it goes back', () => {
    const history = new History();
    history.decide(project('web:1'));
    history.decide(project('web:1'), { ready: 1 });
    const bigger = project('web:2');
    bigger.spec.services['web']!.replicas = 9;
    history.decide(bigger);
    expect(history.decide(bigger, failure(2)).project.spec.services['web']).toEqual({
      image: 'web:1',
      replicas: 9,
    });
  });

  it('has nowhere to go back to from a first revision', () => {
    const history = new History();
    history.decide(project('web:1'));
    const stuck = history.decide(project('web:1'), failure(1));
    expect(stuck).toMatchObject({ revision: 1, fallback: { running: false } });
  });

  it('runs what rollbackTo names while it stands there, and tries a failed one again when told to', () => {
    const history = new History();
    history.decide(project('web:1'));
    history.decide(project('web:1'), { ready: 1 });
    history.decide(project('web:2', {}, 2));
    expect(imageOf(history.decide(project('web:2', { rollbackTo: 1 }, 3)))).toBe('web:1');
    expect(imageOf(history.decide(project('web:9', { rollbackTo: 1 }, 4)))).toBe('web:1');
    history.decide(project('web:2', {}, 5), failure(2));
    const again = history.decide(project('web:2', { rollbackTo: 2 }, 6));
    expect(again).toMatchObject({ revision: 2, wanted: 2 });
    expect(history.decide(project('web:2', { rollbackTo: 2 }, 6), failure(2)).revision).toBe(1);
  });

  it('refuses a revision that is not kept, naming those that are', () => {
    const history = new History();
    history.decide(project('web:1'));
    expect(
      planRelease(project('web:1', { rollbackTo: 7 }), { revisions: history.revisions }, now),
    ).toEqual({ refused: 'spec.rollbackTo: 7: there is no such revision; kept are 1' });
  });

  it('keeps as many as it is told to, and always those in use', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 4 }),
        fc.array(fc.record({ image: fc.nat(5), fails: fc.boolean() }), { maxLength: 30 }),
        (limit, changes) => {
          const history = new History();
          for (const { image, fails } of changes) {
            const asked = project(`web:${String(image)}`, { revisionHistoryLimit: limit });
            const { wanted } = history.decide(asked);
            const { revision } = history.decide(asked, fails ? failure(wanted) : { ready: wanted });
            const numbers = history.revisions.map(({ number }) => number);
            expect(numbers).toContain(revision);
            expect(numbers).toContain(wanted);
            expect(new Set(numbers).size).toBe(numbers.length);
            expect(numbers.length).toBeLessThanOrEqual(limit + 2);
            // Deciding again changes nothing.
            expect(history.decide(asked)).toMatchObject({ revision, put: [], remove: [] });
          }
        },
      ),
    );
  });
});
