import { z } from 'zod';
import { durationExample, parseDuration } from './duration.ts';
import { restartsAfter, type RestartPolicy } from './restart-policy.ts';

const duration = (description: string) =>
  z.string().max(40).meta({ description, pattern: durationExample }).optional();

const port = z
  .int()
  .min(1)
  .max(65_535)
  .meta({ description: 'Port of the container, whether or not it is published: 80.' });

/** What a user says about how to find out whether an instance serves. */
export const healthCheck = z.object({
  http: z
    .object({
      port,
      path: z.string().max(2048).default('/').meta({
        description: 'What is asked for, with its query: "/healthz?full=1".',
        pattern: '^/',
      }),
    })
    .meta({
      description:
        "A GET request to the container's overlay address; statuses 200 to 399 pass (redirects are not followed). " +
        'Example: {port: 80, path: /healthz}.',
    })
    .optional(),
  tcp: z
    .object({ port })
    .meta({
      description:
        "A TCP connection to the container's overlay address; passes when it is accepted. Example: {port: 6379}.",
    })
    .optional(),
  exec: z
    .object({
      command: z.array(z.string().max(65_536)).min(1).max(1024).meta({
        description: 'Program and arguments: [redis-cli, ping].',
        'x-kubernetes-list-type': 'atomic',
      }),
    })
    .meta({
      description:
        'A program run in the container; exit code 0 passes. One that outlasts the timeout fails, and is not started ' +
        'again before it has ended. Example: {command: [pg_isready, -q]}.',
    })
    .optional(),
  disable: z
    .boolean()
    .meta({
      description:
        "true: no check at all, not even the image's own HEALTHCHECK. Example: {disable: true}.",
    })
    .optional(),
  interval: duration(
    'Time between checks. Default 10s (for the image\'s own HEALTHCHECK, what the image says). Example: "5s".',
  ),
  timeout: duration(
    'A check that takes longer fails. Default 5s (for the image\'s own HEALTHCHECK, what the image says). Example: "2s".',
  ),
  retries: z
    .int()
    .min(1)
    .max(1000)
    .meta({
      description:
        'Failures in a row that make the instance unhealthy; one pass makes it healthy. Default 3. Example: 1.',
      format: 'int32',
    })
    .optional(),
  startPeriod: duration(
    'Time after the start in which failures do not count. A pass ends it early. Default 0s. Example: "30s".',
  ),
  unhealthyAction: z
    .enum(['restart', 'none'])
    .meta({
      description:
        'What to do with an unhealthy instance, besides sending it no more work. restart: stop it, and let the restart ' +
        'policy decide as after a timeout: always, on-failure and on-abnormal start it again, the others leave it ' +
        'failed. none: leave it running. Default: restart where the policy starts it again, else none.',
    })
    .optional(),
});
export type HealthCheckInput = z.input<typeof healthCheck>;

/** The check of one container, resolved: all that an agent needs. */
export const healthCheckSpec = z.object({
  /** `image`: the image's own HEALTHCHECK, if it has one, run by the engine. `none`: no check, not even that. */
  probe: z.discriminatedUnion('type', [
    z.object({ type: z.literal('http'), port: z.int(), path: z.string() }),
    z.object({ type: z.literal('tcp'), port: z.int() }),
    z.object({ type: z.literal('exec'), command: z.array(z.string()) }),
    z.object({ type: z.literal('image') }),
    z.object({ type: z.literal('none') }),
  ]),
  /** Absent times (of `image` only): what the image says. */
  intervalMs: z.int().optional(),
  timeoutMs: z.int().optional(),
  retries: z.int().optional(),
  startPeriodMs: z.int().optional(),
  unhealthyAction: z.enum(['restart', 'none']),
});
export type HealthCheckSpec = z.infer<typeof healthCheckSpec>;

export const healthDefaults = {
  intervalMs: 10_000,
  timeoutMs: 5_000,
  retries: 3,
  startPeriodMs: 0,
} as const;

/**
 * Reads a health check; undefined gives undefined.
 * @throws {InvalidValueError} for what `validateHealthCheck` would have refused
 */
export function resolveHealthCheck(
  check: HealthCheckInput | undefined,
  restart: RestartPolicy,
): HealthCheckSpec | undefined {
  if (check === undefined) return undefined;
  if (check.disable === true) return { probe: { type: 'none' }, unhealthyAction: 'none' };
  const unhealthyAction =
    check.unhealthyAction ?? (restartsAfter(restart, 'timeout') ? 'restart' : 'none');
  const given: Partial<HealthCheckSpec> = {
    ...(check.interval !== undefined && { intervalMs: parseDuration(check.interval) }),
    ...(check.timeout !== undefined && { timeoutMs: parseDuration(check.timeout) }),
    ...(check.retries !== undefined && { retries: check.retries }),
    ...(check.startPeriod !== undefined && { startPeriodMs: parseDuration(check.startPeriod) }),
  };
  const own = { ...healthDefaults, ...given, unhealthyAction };
  const { http, tcp, exec } = check;
  if (http !== undefined) {
    return { probe: { type: 'http', port: http.port, path: http.path ?? '/' }, ...own };
  }
  if (tcp !== undefined) return { probe: { type: 'tcp', port: tcp.port }, ...own };
  if (exec !== undefined) return { probe: { type: 'exec', command: [...exec.command] }, ...own };
  return { probe: { type: 'image' }, ...given, unhealthyAction };
}
