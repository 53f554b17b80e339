import { z } from 'zod';
import { durationPattern } from './duration.ts';
import { rule } from './schema-extensions.ts';

/** systemd's words for `Type=`. */
const serviceType = z.enum(['simple', 'oneshot']);

const duration = (description: string) =>
  z.string().max(40).meta({ description, pattern: durationPattern }).optional();

/** Failures that a job is forgiven, if it does not say; Kubernetes' number. */
export const defaultBackoffLimit = 6;

const jobSpec = z.object({
  parallelism: z
    .int()
    .min(1)
    .max(100_000)
    .meta({
      description: 'Most instances that run at a time. Default: all of them. Example: 2.',
      format: 'int32',
    })
    .optional(),
  backoffLimit: z
    .int()
    .min(0)
    .max(1000)
    .meta({
      description:
        'Failures, of all instances together, that are made good by another try; with one more the job has failed with reason ' +
        `BackoffLimitExceeded, and what still runs is stopped. Default ${String(defaultBackoffLimit)}.`,
      format: 'int32',
    })
    .optional(),
  deadline: duration(
    'Longest time from the start of the job to its end; after it the job has failed with reason DeadlineExceeded, and what ' +
      'still runs is stopped. Example: "30m".',
  ),
});

const scheduleSpec = z.object({
  cron: z
    .string()
    .max(200)
    .meta({
      description:
        'MINUTE HOUR DAY MONTH WEEKDAY, as in crontab: "30 2 * * *" is half past two every night, "*/5 * * * *" every five ' +
        'minutes; six fields have seconds in front; @hourly, @daily, @weekly, @monthly, @yearly.',
    }),
  timeZone: z
    .string()
    .max(100)
    .meta({
      description:
        'Name of a time zone: Europe/Berlin. Default UTC. When clocks are changed, a time that is left out is made up for at once, ' +
        'and one that comes twice counts once.',
    })
    .optional(),
  concurrencyPolicy: z
    .enum(['allow', 'forbid', 'replace'])
    .meta({
      description:
        'When the last run has not ended. allow: both run; forbid: the new one is left out; replace: the old one is stopped. ' +
        'Default allow.',
    })
    .optional(),
  startingDeadline: duration(
    'How late a run may start that was missed, e.g. while no operator ran; of several only the latest is made up for. ' +
      'Default: however late. Example: "10m".',
  ),
  successfulRuns: z
    .int()
    .min(0)
    .max(100)
    .meta({ description: 'Successful runs that are kept. Default 3.', format: 'int32' })
    .optional(),
  failedRuns: z
    .int()
    .min(0)
    .max(100)
    .meta({ description: 'Failed runs that are kept. Default 1.', format: 'int32' })
    .optional(),
  suspend: z
    .boolean()
    .meta({
      description: 'true: nothing is started; what runs goes on. Times meanwhile are left out.',
    })
    .optional(),
});
export type ScheduleSpec = z.output<typeof scheduleSpec>;

/** Fields of a service's spec that say that it comes to an end. */
export const jobs = {
  type: serviceType
    .meta({
      description:
        'simple (default): runs for ever. oneshot: runs to its end, once for each change of its spec, and never again because an ' +
        'agent, an operator or a host was restarted; only exit code 0 is success. If its host is lost before the end, it ' +
        'runs again elsewhere.',
    })
    .optional(),
  remainAfterExit: z
    .boolean()
    .meta({
      description:
        'Of a oneshot: once it has ended with success it counts as ready, as in systemd. Without it, it is Completed, and counts for nothing.',
    })
    .optional(),
  job: jobSpec
    .meta({
      description:
        'Of a oneshot: replicas is the number of instances that have to end with success, numbered from 1 (%i); failures are tried ' +
        'again, after pauses that grow from restartSec (1s) to a minute: {parallelism: 2, backoffLimit: 4, deadline: 1h}.',
    })
    .optional(),
  schedule: scheduleSpec
    .meta({
      description:
        'Of a oneshot: runs at these times. Each run is a Service object of its own, called after this one and the time in seconds: ' +
        '{cron: "30 2 * * *", timeZone: Europe/Berlin, concurrencyPolicy: forbid}.',
    })
    .optional(),
};

/** For a ServiceSpec: what these and the other fields must not say together. Only comparisons: they are cheap. */
export const jobRules = [
  rule(
    "(has(self.type) && self.type == 'oneshot') || !(has(self.job) || has(self.schedule) || has(self.remainAfterExit) && self.remainAfterExit)",
    'job, schedule and remainAfterExit are for services that come to an end: add type: oneshot',
  ),
  rule(
    "!(has(self.type) && self.type == 'oneshot' && has(self.restart)) || !(self.restart in ['always', 'on-success'])",
    'a oneshot is not started again when it has ended with success: leave restart out, or take on-failure, on-abnormal or on-abort',
  ),
  rule(
    '!(has(self.job) && has(self.placement) && has(self.placement.global) && self.placement.global)',
    'a job has a number of completions, a global service one instance on every host: drop one of job and placement.global',
  ),
];
