import { attempt } from './attempt.ts';
import { isTimeZone, parseCron, unknownZone } from './cron.ts';
import { parseDuration } from './duration.ts';
import { fieldPath, type FieldError } from './field-error.ts';
import { maxLabelLength } from './names.ts';
import type { ProjectSpec } from './project.ts';
import type { ServiceSpec } from './service-spec.ts';

type At = (...segments: PropertyKey[]) => string;

/** What is wrong with `type`, `job` and `schedule` of one service. */
export function validateJobs(spec: ServiceSpec, at: At, errors: FieldError[]): void {
  const { job, schedule, restart } = spec;
  const fail = (path: string, value: unknown, message: string): void => {
    errors.push({ path, value, message, severity: 'error' });
  };
  if (spec.type !== 'oneshot') {
    for (const field of ['job', 'schedule', 'remainAfterExit'] as const) {
      const value = spec[field];
      if (value === undefined || value === false) continue;
      fail(at(field), value, 'is for a service that comes to an end: add type: oneshot');
    }
    return;
  }
  if (restart === 'always' || restart === 'on-success') {
    fail(
      at('restart'),
      restart,
      'a oneshot is not started again when it has ended with success: leave restart out, or take on-failure, on-abnormal or on-abort',
    );
  }
  const isGlobal = spec.placement?.global === true;
  if (job !== undefined) {
    if (isGlobal) {
      fail(
        at('job'),
        job,
        'a job has a number of completions, a global service one instance on every host: drop one of job and placement.global',
      );
    }
    if (restart !== undefined && restart !== 'no') {
      fail(
        at('restart'),
        restart,
        'an instance of a job that fails is made anew, and counts for job.backoffLimit: leave restart out',
      );
    }
    positiveDuration(job.deadline, at('job', 'deadline'), errors);
  }
  if (schedule !== undefined) {
    if (isGlobal) {
      fail(
        at('schedule'),
        schedule,
        'a scheduled service has no instances but in its runs: drop one of schedule and placement.global',
      );
    }
    if (spec.remainAfterExit === true) {
      fail(
        at('remainAfterExit'),
        true,
        'has no meaning for a scheduled service, whose runs come and go: leave it out',
      );
    }
    if (schedule.timeZone !== undefined && !isTimeZone(schedule.timeZone)) {
      fail(at('schedule', 'timeZone'), schedule.timeZone, unknownZone);
    } else {
      attempt(errors, at('schedule', 'cron'), schedule.cron, () =>
        parseCron(schedule.cron, schedule.timeZone),
      );
    }
    positiveDuration(schedule.startingDeadline, at('schedule', 'startingDeadline'), errors);
  }
}

function positiveDuration(text: string | undefined, path: string, errors: FieldError[]): void {
  if (text === undefined) return;
  const ms = attempt(errors, path, text, () => parseDuration(text));
  if (ms === 0) {
    errors.push({
      path,
      value: text,
      message: 'must be more than nothing: e.g. 10m',
      severity: 'error',
    });
  }
}

/** `backup-1764036900`: names of runs are that much longer than those of their service. */
const stampLength = '-1764036900'.length;

/** A run is a Service called after its schedule and the time. */
export function validateRunNames(base: string, spec: ServiceSpec, path: string): FieldError[] {
  if (spec.schedule === undefined) return [];
  const longest = base.length + stampLength + `-${String(spec.replicas)}`.length;
  if (longest <= maxLabelLength) return [];
  return [
    {
      path,
      value: base,
      message:
        `instances of its runs would be called ${base}-1764036900-1 and the like, with ${String(longest)} characters where ` +
        `${String(maxLabelLength)} are possible: shorten the name of the project or of the service`,
      severity: 'error',
    },
  ];
}

/** What services of a project say of scheduled ones, and what the pre-deploy job may not say. */
export function validateJobsTogether(spec: ProjectSpec): FieldError[] {
  const errors: FieldError[] = [];
  const services = Object.entries(spec.services);
  const fail = (path: readonly PropertyKey[], value: unknown, message: string): void => {
    errors.push({ path: fieldPath('spec', ...path), value, message, severity: 'error' });
  };
  for (const [name, service] of services) {
    for (const { path, other } of needs(service)) {
      if (spec.services[other]?.schedule === undefined) continue;
      fail(
        ['services', name, ...path],
        other,
        `"${other}" is scheduled: it has instances only in its runs, which come and go; name another one`,
      );
    }
  }
  const { preDeploy } = spec;
  if (preDeploy === undefined) return errors;
  const service = spec.services[preDeploy];
  const names = services.map(([name]) => name);
  if (service === undefined) {
    fail(
      ['preDeploy'],
      preDeploy,
      `there is no service "${preDeploy}" in this project: it has ${names.join(', ')}`,
    );
    return errors;
  }
  if (service.type !== 'oneshot' || service.schedule !== undefined) {
    fail(
      ['preDeploy'],
      preDeploy,
      service.schedule === undefined
        ? `"${preDeploy}" never comes to an end: give it type: oneshot`
        : `"${preDeploy}" is scheduled: name a oneshot without a schedule`,
    );
  }
  if (service.placement?.global === true) {
    fail(
      ['preDeploy'],
      preDeploy,
      `"${preDeploy}" is global, and hosts come at any time: name a oneshot with a number of replicas`,
    );
  }
  for (const { path, other } of needs(service)) {
    fail(
      ['services', preDeploy, ...path],
      other,
      'the pre-deploy job runs before any other service of the project is made or changed, so it cannot wait for one: drop this, ' +
        'or let the other services depend on it (dependsOn: {condition: completed}) in place of preDeploy',
    );
  }
  return errors;
}

/** Services without which this one does not run, and where it says so. */
function needs(
  spec: ServiceSpec,
): { readonly path: readonly PropertyKey[]; readonly other: string }[] {
  const listed = (['requires', 'bindsTo', 'partOf', 'conflictsWith'] as const).flatMap((field) =>
    (spec[field] ?? []).map((other, index) => ({ path: [field, index], other })),
  );
  const machineOf = spec.placement?.machineOf;
  return [
    ...Object.keys(spec.dependsOn ?? {}).map((other) => ({ path: ['dependsOn', other], other })),
    ...listed,
    ...(spec.volumesFrom ?? []).map((text, index) => ({
      path: ['volumesFrom', index],
      other: text.split(':')[0] ?? '',
    })),
    ...(machineOf === undefined ? [] : [{ path: ['placement', 'machineOf'], other: machineOf }]),
  ];
}
