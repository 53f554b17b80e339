import { attempt } from './attempt.ts';
import { parseDuration } from './duration.ts';
import type { FieldError } from './field-error.ts';
import { restartPolicyOf } from './restart-policy.ts';
import type { ServiceSpec } from './service-spec.ts';

/** An engine refuses shorter times ("must be at least 1ms"), and checks without a pause would only load the host. */
const shortestIntervalMs = 100;

type At = (...segments: PropertyKey[]) => string;

/** What is wrong with `healthCheck`, `restartSec` and `startLimit` beyond their schema. */
export function validateHealthAndRestart(spec: ServiceSpec, at: At, errors: FieldError[]): void {
  const fail = (path: string, value: unknown, message: string) =>
    errors.push({ path, value, message, severity: 'error' });
  const duration = (path: string, value: string | undefined, leastMs: number): void => {
    if (value === undefined) return;
    const ms = attempt(errors, path, value, () => parseDuration(value));
    if (ms !== undefined && ms < leastMs) {
      fail(path, value, `too short: at least ${String(leastMs)}ms`);
    }
  };
  const { healthCheck: check } = spec;
  if (check !== undefined) {
    const kinds = (['http', 'tcp', 'exec'] as const).filter((kind) => check[kind] !== undefined);
    if (kinds.length > 1) {
      fail(
        at('healthCheck', kinds[1] ?? 'http'),
        check[kinds[1] ?? 'http'],
        `there is ${kinds[0] ?? ''} too: an instance has one check; take http, tcp or exec`,
      );
    }
    const others = Object.keys(check).filter((field) => field !== 'disable');
    if (check.disable === true && others.length > 0) {
      fail(
        at('healthCheck', 'disable'),
        true,
        `contradicts ${others.join(', ')}: without a check there is nothing to set`,
      );
    }
    const path = check.http?.path;
    if (
      path !== undefined &&
      (!path.startsWith('/') || /[\u0000-\u0020\u007f-\uffff]/.test(path))
    ) {
      fail(
        at('healthCheck', 'http', 'path'),
        path,
        'a path begins with "/" and has neither spaces nor letters beyond ASCII (write them as %20 and the like)',
      );
    }
    const command = check.exec?.command;
    if (command?.[0] === '') {
      fail(at('healthCheck', 'exec', 'command', 0), '', 'name a program, e.g. [redis-cli, ping]');
    }
    duration(at('healthCheck', 'interval'), check.interval, shortestIntervalMs);
    duration(at('healthCheck', 'timeout'), check.timeout, 1);
    duration(at('healthCheck', 'startPeriod'), check.startPeriod, 0);
  }
  duration(at('restartSec'), spec.restartSec, 0);
  duration(at('startLimit', 'interval'), spec.startLimit?.interval, 1);
  if (restartPolicyOf(spec) !== 'no') return;
  for (const field of ['restartSec', 'startLimit'] as const) {
    // A job is tried again by the operator.
    if (field === 'restartSec' && spec.job !== undefined) continue;
    if (spec[field] !== undefined) {
      fail(
        at(field),
        spec[field],
        'with restart: "no" nothing is ever started again: leave it out',
      );
    }
  }
}
