import { z } from 'zod';

/** When a container that has ended is started again; systemd's words for `Restart=`. */
export const restartPolicy = z.enum([
  'always',
  'no',
  'on-success',
  'on-failure',
  'on-abnormal',
  'on-abort',
]);
export type RestartPolicy = z.infer<typeof restartPolicy>;

/**
 * How a run ended, as systemd tells them apart (`result` in systemd's src/core/service.c):
 * - `clean`: exit code 0, or one of the signals SIGHUP, SIGINT, SIGTERM, SIGPIPE
 * - `exit-code`: another exit code
 * - `signal`: another signal, a core dump included
 * - `oom`: the kernel killed it because memory ran out (systemd's `oom-kill`)
 * - `timeout`: it was stopped because it did not do in time what it had to: a health check failed for too long
 *   (systemd's `watchdog` and `timeout`, which no policy here treats differently)
 */
export const endCauses = ['clean', 'exit-code', 'signal', 'oom', 'timeout'] as const;
export type EndCause = (typeof endCauses)[number];

/**
 * The table of systemd.service(5), "Exit causes and the effect of the Restart= settings", and for `oom` what
 * `service_shall_restart` does: on-abort looks for the results `signal` and `core-dump` only, and an OOM kill is neither.
 */
const restarted: Readonly<Record<RestartPolicy, readonly EndCause[]>> = {
  no: [],
  always: ['clean', 'exit-code', 'signal', 'oom', 'timeout'],
  'on-success': ['clean'],
  'on-failure': ['exit-code', 'signal', 'oom', 'timeout'],
  'on-abnormal': ['signal', 'oom', 'timeout'],
  'on-abort': ['signal'],
};

/** Whether a run that ended so is followed by another. */
export function restartsAfter(policy: RestartPolicy, cause: EndCause): boolean {
  return restarted[policy].includes(cause);
}

/** The policy of a service, said or not. */
export function restartPolicyOf<R extends string = RestartPolicy>(spec: {
  readonly type?: string | undefined;
  readonly restart?: R | undefined;
}): R | 'no' | 'always' {
  return spec.restart ?? (spec.type === 'oneshot' ? 'no' : 'always');
}
