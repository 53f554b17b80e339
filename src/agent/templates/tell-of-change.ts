import { sleep } from '../../runtime/clock.ts';
import { EngineError, isNotFound } from '../docker/errors.ts';
import { ReloadError, tellContainer } from '../files/tell.ts';
import type { OwnedContainer } from '../ownership.ts';
import type { ApplyDeps, Job } from './template-job.ts';
import { TemplateTrouble } from './template-trouble.ts';
import type { Run } from './template-store.ts';

/** A program that has just begun may not have its signal handlers yet, and would end of it. */
const settledMs = 1000;

/**
 * After a file was changed, notes whose runs may have read it before: they are to be told, and nobody else.
 *
 * The engine is asked anew, since what was seen of a container last may be older than its start: one that was seen as
 * created may have begun, and read the file, before that was changed. The engine starts and inspects a container under one lock,
 * so that what it calls not running afterwards will begin with the new file. Throws EngineError.
 */
export async function noteWhoReadBefore(
  { of, index, told }: Job,
  { store, refresh }: ApplyDeps,
): Promise<void> {
  await Promise.all(told().map(({ id }) => refresh(id)));
  await store.oweTo(of, index, told().flatMap(runOf));
}

/** Tells of the last change who has yet to be told, also if it was made before this agent was started. @throws {TemplateTrouble} */
export async function tellOfChange(
  job: Job,
  { store, engine, clock }: ApplyDeps,
  signal: AbortSignal,
): Promise<void> {
  const { of, index, template } = job;
  const untold = await store.untold(of, index);
  if (untold?.length === 0) return;
  const reload = template.reload ?? {};
  let left = template.reload === undefined ? [] : stillToBeTold(untold, job.told());
  let failure: ReloadError | undefined;
  for (const run of [...left]) {
    const waitMs = Date.parse(run.startedAt) + settledMs - clock.now();
    if (waitMs > 0) await sleep(clock, Math.min(waitMs, settledMs), signal);
    try {
      await tellContainer(engine, run.id, reload, signal);
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof ReloadError) {
        failure ??= error;
        continue;
      }
      // It has ended meanwhile.
      const ended = error instanceof EngineError && error.reason === 'Conflict';
      if (!ended && !isNotFound(error)) throw error;
    }
    left = left.filter((other) => other !== run);
    // At once: an agent that ends here has told this one.
    await store.oweTo(of, index, left);
  }
  if (failure !== undefined) throw new TemplateTrouble('TemplateReloadFailed', failure.message);
  await store.oweTo(of, index, []);
}

/** A run that has ended needs not be told: the next one reads the new content. */
function stillToBeTold(
  untold: readonly Run[] | undefined,
  containers: readonly OwnedContainer[],
): readonly Run[] {
  const present = containers.flatMap(runOf);
  // Rather once more than never.
  if (untold === undefined) return present;
  return present.filter((run) =>
    untold.some(({ id, startedAt }) => id === run.id && startedAt === run.startedAt),
  );
}

function runOf({ id, state, startedAt, hook }: OwnedContainer): Run[] {
  return state === 'running' && hook === undefined ? [{ id, startedAt: startedAt ?? '' }] : [];
}
