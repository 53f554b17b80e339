import { z } from 'zod';
import { parseDuration, durationPattern } from './duration.ts';
import type { PortMapping } from './container-spec.ts';
import type { FieldError } from './field-error.ts';
import { fieldPath } from './field-error.ts';
import { attempt } from './attempt.ts';
import { rule } from './schema-extensions.ts';

const duration = (description: string) =>
  z
    .string()
    .max(40)
    .meta({
      description,
      'x-kubernetes-validations': [
        rule(
          `self.matches('${durationPattern.replaceAll('\\', '\\\\')}')`,
          'a duration is made of numbers with units h, m, s or ms, e.g. 30s or 1m30s',
        ),
      ],
    });

/** How a service gets from one spec to the next: Swarm's words and meanings. */
export const updateSpec = z.object({
  parallelism: z.int().min(0).max(100_000).default(1).meta({
    description: 'How many instances are replaced at a time; 0: all at once.',
    format: 'int32',
  }),
  order: z
    .enum(['start-first', 'stop-first'])
    .default('stop-first')
    .meta({
      description:
        'stop-first: the old instance stops, then the new one starts in its place. start-first: the new one starts beside ' +
        'the old one, which goes when the new one is ready and was for `monitor`; not for software that must not run twice ' +
        'on its data. A service that publishes a host port is updated stop-first in any case, and says so.',
    }),
  delay: duration('Pause between one batch and the next: "10s". Default: none.').optional(),
  monitor: duration(
    'How long a new instance has to be ready before it counts as updated: "5s". Default: 2s.',
  ).optional(),
  progressDeadline: duration(
    'How long an update waits for a new instance to be ready; then the instance counts as failed, and failureAction says ' +
      'what follows: "5m". "0s": for ever. Default: 10m, or what timeoutStart needs if that is more.',
  ).optional(),
  failureAction: z
    .enum(['pause', 'rollback', 'continue'])
    .default('pause')
    .meta({
      description:
        'When too many new instances fail. pause: the update stops there; rollback: the whole project goes back to the last ' +
        'revision that was ready, so that versions never stay mixed; continue: the update goes on.',
    }),
  maxFailureRatio: z.number().min(0).max(1).default(0).meta({
    description: 'Part of the instances that may fail before failureAction is taken: 0.25.',
  }),
});
export type UpdateSpec = z.output<typeof updateSpec>;

/** An update section with units computed. */
export interface UpdatePolicy {
  /** Instances at a time; Infinity: all. */
  readonly parallelism: number;
  readonly order: 'start-first' | 'stop-first';
  /** Why it is stop-first although the user asked for start-first. */
  readonly fallback?: string;
  readonly delayMs: number;
  /** Undefined: what the operator does by default. */
  readonly monitorMs?: number;
  /** How long a new instance may take to be ready before it counts as failed. Undefined: for ever. */
  readonly progressDeadlineMs?: number;
  readonly failureAction: 'pause' | 'rollback' | 'continue';
  /** 0 to 1. */
  readonly maxFailureRatio: number;
}

/** A new instance that is not ready after this counts as failed. */
const defaultProgressDeadlineMs = 600_000;

/** What holds when the user says nothing. */
export const defaultUpdatePolicy: UpdatePolicy = {
  parallelism: 1,
  order: 'stop-first',
  delayMs: 0,
  progressDeadlineMs: defaultProgressDeadlineMs,
  failureAction: 'pause',
  maxFailureRatio: 0,
};

/**
 * The policy by which a service is updated.
 * @param ports of its containers: two instances cannot publish one port of a host.
 * @param timeoutStart of its containers.
 * @throws {InvalidValueError} for what `validateUpdate` would have refused
 */
export function updatePolicyOf(
  update: UpdateSpec | undefined,
  ports: readonly PortMapping[],
  timeoutStart?: string,
): UpdatePolicy {
  const deadline = progressDeadlineMs(update?.progressDeadline, timeoutStart);
  if (update === undefined) {
    return deadline.progressDeadlineMs === defaultProgressDeadlineMs
      ? defaultUpdatePolicy
      : { ...defaultUpdatePolicy, ...deadline };
  }
  const published = ports.find((port) => port.hostPort !== undefined);
  const falls = update.order === 'start-first' && published !== undefined;
  return {
    parallelism: update.parallelism === 0 ? Infinity : update.parallelism,
    order: falls ? 'stop-first' : update.order,
    ...(falls && {
      fallback: `stop-first, since host port ${String(published.hostPort)} cannot be published twice`,
    }),
    delayMs: update.delay === undefined ? 0 : parseDuration(update.delay),
    ...(update.monitor === undefined ? {} : { monitorMs: parseDuration(update.monitor) }),
    ...deadline,
    failureAction: update.failureAction,
    maxFailureRatio: update.maxFailureRatio,
  };
}

function progressDeadlineMs(
  given: string | undefined,
  timeoutStart: string | undefined,
): { progressDeadlineMs?: number } {
  // The hooks before a start may take that long, and what follows the start as long again.
  const startMs = timeoutStart === undefined ? 0 : 2 * parseDuration(timeoutStart);
  const ms =
    given === undefined ? Math.max(defaultProgressDeadlineMs, startMs) : parseDuration(given);
  return ms === 0 ? {} : { progressDeadlineMs: ms };
}

/** What is wrong with an update section beyond its schema. @param path of the service's spec */
export function validateUpdate(
  update: UpdateSpec | undefined,
  path: readonly PropertyKey[],
  timeoutStart?: string,
): FieldError[] {
  const errors: FieldError[] = [];
  for (const field of ['delay', 'monitor', 'progressDeadline'] as const) {
    const value = update?.[field];
    if (value === undefined) continue;
    attempt(errors, fieldPath(...path, 'update', field), value, () => parseDuration(value));
  }
  const deadline = update?.progressDeadline;
  if (errors.length > 0 || deadline === undefined || timeoutStart === undefined) return errors;
  const startMs = attempt([], '', timeoutStart, () => parseDuration(timeoutStart)) ?? 0;
  const deadlineMs = parseDuration(deadline);
  if (deadlineMs > 0 && deadlineMs < startMs) {
    errors.push({
      path: fieldPath(...path, 'update', 'progressDeadline'),
      value: deadline,
      message: `shorter than timeoutStart (${timeoutStart}), which a start may take: raise it, or lower timeoutStart`,
      severity: 'error',
    });
  }
  return errors;
}
