import { z } from 'zod';
import { attempt } from './attempt.ts';
import { durationExample, parseDuration } from './duration.ts';
import type { FieldError } from './field-error.ts';
import { isImageReference } from './image-reference.ts';
import { rule } from './schema-extensions.ts';

/** Most hooks of one kind. */
const maxHooks = 16;

const hook = z
  .object({
    command: z
      .array(z.string().max(4096))
      .min(1)
      .max(64)
      .meta({
        description:
          "Program with its arguments, run as it stands, without the image's ENTRYPOINT: [migrate, up]. Placeholders as in " +
          'the command of the service. Default, where an image is given: what the image runs by itself.',
        'x-kubernetes-list-type': 'atomic',
      })
      .optional(),
    image: z
      .string()
      .min(1)
      .max(512)
      .meta({
        description:
          "Runs the hook in a container of its own, made from this image, with the instance's network, volumes, configs, " +
          'environment and limits: "migrate/migrate:4".',
      })
      .optional(),
    ignoreFailure: z.boolean().default(false).meta({
      description: 'Goes on as if it had succeeded; "-" in front of the command in systemd.',
    }),
  })
  .meta({
    description:
      'One command: {command: [migrate, up]}, or {image: "migrate/migrate:4", command: [migrate, up]}.',
    'x-kubernetes-validations': [
      rule(
        'has(self.command) || has(self.image)',
        'a hook needs a command, or an image that runs one by itself: {command: [migrate, up]}',
      ),
    ],
  });

const hooks = (description: string) =>
  z.array(hook).max(maxHooks).meta({ description, 'x-kubernetes-list-type': 'atomic' }).optional();

const timeout = (description: string) =>
  z.string().max(40).meta({ description, pattern: durationExample }).optional();

/** Fields of a service's spec that say what is run around its main program; systemd's words and meanings. */
export const hookFields = {
  execStartPre: hooks(
    "Run one after the other before each start, in containers of their own from the service's image (or the hook's): " +
      '[{command: [migrate, up]}]. If one fails, the start has failed, and `restart` says what follows. A hook may run twice ' +
      'when a host or agent dies meanwhile.',
  ),
  execStartPost: hooks(
    'Run after the container has started, in it or in a container of the image given: [{command: [warm-up]}]. The instance is ' +
      'ready only after them; if one fails, it is stopped and the start has failed.',
  ),
  execStop: hooks(
    'Run before a container that started well is sent its stop signal, in it or in a container of the image given: ' +
      '[{command: [nginx, -s, quit]}]. If one fails, that is told and the stop goes on.',
  ),
  execStopPost: hooks(
    'Run after the container has ended or could not start, for whatever reason, in containers of their own: ' +
      '[{command: [rm, -f, /data/lock]}]. Not run when somebody removes the container by hand.',
  ),
  timeoutStart: timeout(
    'How long the hooks before a start may take together and, counted anew from the start, how long until the instance is ready ' +
      '(execStartPost, health check). What takes longer is stopped and counts as a timeout for `restart`. Pulling images does ' +
      'not count. Default: 90s for the hooks, no limit for the rest; "0s": none at all. Example: "5m".',
  ),
  timeoutStop: timeout(
    'How long the hooks of execStop may take together, and those of execStopPost again; the container itself has ' +
      'stopGracePeriod in between. Default 90s. Example: "30s".',
  ),
};

/** One hook as an agent runs it. */
export const resolvedHook = z.object({
  command: z.array(z.string()).optional(),
  image: z.string().optional(),
  ignoreFailure: z.boolean().optional(),
});
export type Hook = z.infer<typeof resolvedHook>;

/** What is run around a container's main program; absent lists are empty. */
export const resolvedHooks = z.object({
  startPre: z.array(resolvedHook).optional(),
  startPost: z.array(resolvedHook).optional(),
  stop: z.array(resolvedHook).optional(),
  stopPost: z.array(resolvedHook).optional(),
});
export type Hooks = z.infer<typeof resolvedHooks>;

export const hookLists = {
  execStartPre: 'startPre',
  execStartPost: 'startPost',
  execStop: 'stop',
  execStopPost: 'stopPost',
} as const satisfies Record<string, keyof Hooks>;
const fields = Object.keys(hookLists) as (keyof typeof hookLists)[];

/** The part of a service's spec that is about hooks. */
type HookSpec = z.output<z.ZodObject<typeof hookFields>>;

/**
 * The hooks of a service; undefined when it has none.
 * @throws {InvalidValueError}
 */
export function resolveHooks(spec: HookSpec): {
  hooks?: Hooks;
  timeoutStartMs?: number;
  timeoutStopMs?: number;
} {
  const found: { -readonly [K in keyof Hooks]: Hook[] } = {};
  for (const field of fields) {
    const list = spec[field] ?? [];
    if (list.length === 0) continue;
    found[hookLists[field]] = list.map(({ command, image, ignoreFailure }) => ({
      ...(command === undefined ? {} : { command }),
      ...(image === undefined ? {} : { image }),
      ...(ignoreFailure ? { ignoreFailure } : {}),
    }));
  }
  return {
    ...(Object.keys(found).length === 0 ? {} : { hooks: found }),
    ...(spec.timeoutStart === undefined
      ? {}
      : { timeoutStartMs: parseDuration(spec.timeoutStart) }),
    ...(spec.timeoutStop === undefined ? {} : { timeoutStopMs: parseDuration(spec.timeoutStop) }),
  };
}

/** All arguments of hooks, in which placeholders count, with their paths within the spec. */
export function* hookTexts(
  spec: HookSpec,
): Generator<{ readonly path: readonly PropertyKey[]; readonly text: string }> {
  for (const field of fields) {
    for (const [index, { command }] of (spec[field] ?? []).entries()) {
      for (const [word, text] of (command ?? []).entries()) {
        yield { path: [field, index, 'command', word], text };
      }
    }
  }
}

/** The hooks with every argument through `fill`. */
export function fillHooks(spec: HookSpec, fill: (text: string) => string): Partial<HookSpec> {
  const filled: Partial<Record<(typeof fields)[number], HookSpec['execStop']>> = {};
  for (const field of fields) {
    const list = spec[field];
    if (list === undefined) continue;
    filled[field] = list.map((one) =>
      one.command === undefined ? one : { ...one, command: one.command.map(fill) },
    );
  }
  return filled;
}

/** What is wrong with hooks and their timeouts beyond their schema. */
export function validateHooks(
  spec: HookSpec & {
    readonly healthCheck?: { readonly disable?: boolean | undefined } | undefined;
  },
  at: (...segments: PropertyKey[]) => string,
  errors: FieldError[],
): void {
  const fail = (path: string, value: unknown, message: string) =>
    errors.push({ path, value, message, severity: 'error' });
  for (const field of fields) {
    for (const [index, { command, image }] of (spec[field] ?? []).entries()) {
      if (command === undefined && image === undefined) {
        fail(
          at(field, index),
          {},
          'a hook needs a command, or an image that runs one by itself: {command: [migrate, up]}',
        );
      }
      if (command?.[0]?.trim() === '') {
        fail(at(field, index, 'command', 0), command[0], 'name a program, e.g. [migrate, up]');
      }
      if (image !== undefined && !isImageReference(image)) {
        fail(
          at(field, index, 'image'),
          image,
          'not an image reference: use e.g. "redis:7" or "registry.example.com:5000/team/app:1.4.2"',
        );
      }
    }
  }
  const has = (...names: (typeof fields)[number][]): boolean =>
    names.some((name) => (spec[name] ?? []).length > 0);
  const { timeoutStart, timeoutStop } = spec;
  if (timeoutStart !== undefined) {
    attempt(errors, at('timeoutStart'), timeoutStart, () => parseDuration(timeoutStart));
    if (spec.healthCheck?.disable === true && !has('execStartPre', 'execStartPost')) {
      fail(
        at('timeoutStart'),
        timeoutStart,
        'bounds nothing: without hooks and with healthCheck.disable an instance is ready when it runs; leave it out',
      );
    }
  }
  if (timeoutStop === undefined) return;
  const ms = attempt(errors, at('timeoutStop'), timeoutStop, () => parseDuration(timeoutStop));
  if (!has('execStop', 'execStopPost')) {
    fail(
      at('timeoutStop'),
      timeoutStop,
      'bounds the hooks execStop and execStopPost, and there are none: what the container itself may take is stopGracePeriod',
    );
  } else if (ms === 0) {
    fail(
      at('timeoutStop'),
      timeoutStop,
      'gives the hooks no time: e.g. "30s"; a stop has to end some day',
    );
  }
}
