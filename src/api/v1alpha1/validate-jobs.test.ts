import { describe, expect, it } from 'vitest';
import { formatFieldError } from './field-error.ts';
import { projectSpec, type ProjectSpecInput } from './project.ts';
import { resolveContainerSpec } from './resolve.ts';
import { serviceSpec, type ServiceSpecInput } from './service-spec.ts';
import { validateProject, validateService } from './validation.ts';

type Spec = Partial<ServiceSpecInput>;

function problems(
  services: Record<string, Spec>,
  more: Partial<ProjectSpecInput> = {},
  name = 'app',
): string[] {
  const written = Object.entries(services).map(([key, spec]) => [key, { image: 'a', ...spec }]);
  const spec = projectSpec.parse({ services: Object.fromEntries(written) as object, ...more });
  return validateProject({ metadata: { name }, spec }).map(formatFieldError);
}

const once: Spec = { type: 'oneshot' };
const nightly: Spec = { ...once, schedule: { cron: '@daily' } };

describe('validateProject, of services that come to an end', () => {
  it.each<[string, Spec, string | undefined]>([
    ['a oneshot', once, undefined],
    ['a oneshot that is restarted when it fails', { ...once, restart: 'on-failure' }, undefined],
    ['more at a time than there are', { ...once, job: { parallelism: 9 } }, undefined],
    ['a schedule with seconds', { ...once, schedule: { cron: '*/5 * * * * *' } }, undefined],
    ['restart: always', { ...once, restart: 'always' }, 'services.j.restart: "always": a oneshot'],
    ['restart: on-success', { ...once, restart: 'on-success' }, 'services.j.restart: "on-success"'],
    [
      'remainAfterExit of a simple one',
      { remainAfterExit: true },
      'services.j.remainAfterExit: true',
    ],
    ['a job of a simple one', { job: {} }, 'services.j.job: {}: is for a service that comes to an'],
    ['a schedule of a simple one', { schedule: { cron: '@daily' } }, 'services.j.schedule: '],
    [
      'a global job',
      { ...once, job: {}, placement: { global: true } },
      'services.j.job: {}: a job',
    ],
    ['a global schedule', { ...nightly, placement: { global: true } }, 'services.j.schedule: '],
    [
      'a job that is restarted',
      { ...once, job: {}, restart: 'on-failure' },
      'services.j.restart: ',
    ],
    ['no time at all', { ...once, job: { deadline: '0s' } }, 'services.j.job.deadline: "0s"'],
    ['an odd expression', { ...once, schedule: { cron: '61 * * * *' } }, 'j.schedule.cron: "61 * '],
    ['one that never fires', { ...once, schedule: { cron: '0 0 30 2 *' } }, ': never fires'],
    [
      'an unknown zone',
      { ...once, schedule: { cron: '@daily', timeZone: 'Mars/Olympus' } },
      'j.schedule.timeZone: "Mars/Olympus": no time zone',
    ],
    ['a scheduled one that remains', { ...nightly, remainAfterExit: true }, 'j.remainAfterExit'],
  ])('%s', (_name, spec, expected) => {
    const found = problems({ j: spec });
    if (expected === undefined) expect(found).toEqual([]);
    else expect(found).toEqual([expect.stringContaining(expected)]);
  });

  it.each<[string, Record<string, Spec>, string | undefined]>([
    ['no such service', { web: {} }, 'spec.preDeploy: "j": there is no service "j"'],
    ['one that never ends', { j: {} }, 'spec.preDeploy: "j": "j" never comes to an end'],
    ['a scheduled one', { j: nightly }, 'spec.preDeploy: "j": "j" is scheduled'],
    ['a global one', { j: { ...once, placement: { global: true } } }, '"j" is global'],
    [
      'one that waits for another',
      { j: { ...once, dependsOn: { db: {} } }, db: {} },
      'spec.services.j.dependsOn.db: "db": the pre-deploy job runs before',
    ],
    ['a oneshot', { j: once, db: { dependsOn: { j: { condition: 'completed' } } } }, undefined],
  ])('preDeploy names %s', (_name, services, expected) => {
    const found = problems(services, { preDeploy: 'j' });
    if (expected === undefined) expect(found).toEqual([]);
    else expect(found).toEqual([expect.stringContaining(expected)]);
  });

  it('lets nothing depend on a scheduled service, nor on the end of what never ends', () => {
    expect(problems({ j: nightly, web: { dependsOn: { j: {} } } })).toEqual([
      expect.stringContaining('spec.services.web.dependsOn.j: "j": "j" is scheduled'),
    ]);
    expect(problems({ j: {}, web: { dependsOn: { j: { condition: 'completed' } } } })).toEqual([
      expect.stringContaining('give it type: oneshot'),
    ]);
  });

  it('leaves room in names for the time of a run', () => {
    const name = 'a'.repeat(49);
    expect(problems({ j: once }, {}, name)).toEqual([]);
    expect(problems({ j: nightly }, {}, name)).toEqual([expect.stringContaining('shorten')]);
    const spec = serviceSpec.parse({ image: 'a', ...nightly });
    expect(validateService({ metadata: { name: 'a'.repeat(51) }, spec })).toHaveLength(1);
  });
});

describe('resolveContainerSpec, of services that come to an end', () => {
  const identity = { namespace: 'default', project: 'app', service: 'j' };
  const resolve = (spec: Spec) =>
    resolveContainerSpec(identity, serviceSpec.parse({ image: 'a', ...spec }), 1);

  it('starts them again only when it is said so', () => {
    expect(resolve({})).toMatchObject({ restart: 'always' });
    expect(resolve({})).not.toHaveProperty('oneshot');
    expect(resolve(once)).toMatchObject({ restart: 'no', oneshot: true });
    expect(resolve({ ...once, restart: 'on-failure', restartSec: '5s' })).toMatchObject({
      restart: 'on-failure',
      restartMs: 5_000,
    });
  });

  it('is the same, whatever is said of tries and times', () => {
    const job = { parallelism: 2, backoffLimit: 1, deadline: '1h' };
    expect(resolve({ ...once, job, restartSec: '5s' })).toEqual(resolve({ ...once, job: {} }));
  });
});
