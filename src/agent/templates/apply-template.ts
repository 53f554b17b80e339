import { EngineError } from '../docker/errors.ts';
import { readBelow, removeEmptyBelow, replaceBelow } from './safe-file.ts';
import type { FilesOf } from '../files/file-store.ts';
import type { ApplyDeps, Job } from './template-job.ts';
import type { PlacedTemplate, TemplateStore } from './template-store.ts';
import { noteWhoReadBefore, tellOfChange } from './tell-of-change.ts';
import { TemplateTrouble } from './template-trouble.ts';

const checkTimeoutMs = 30_000;
const longestOutput = 400;

/**
 * Brings one file up to date: render, compare, judge, swap, tell. May be broken off anywhere and repeated.
 * @param rewrite writes it though it says the right thing
 * @throws {TemplateTrouble}
 */
export async function applyTemplate(
  job: Job,
  rewrite: boolean,
  deps: ApplyDeps,
  signal: AbortSignal,
): Promise<void> {
  const { of, index, template } = job;
  const bytes = await job.render().catch((error: unknown) => {
    signal.throwIfAborted();
    throw new TemplateTrouble('TemplateFailed', messageOf(error));
  });
  const present = await job.read();
  const differs = present === undefined || Buffer.compare(present, bytes) !== 0;
  if (differs || rewrite) {
    if (differs && template.check !== undefined) await check(job, bytes, present, deps, signal);
    signal.throwIfAborted();
    const isTold = differs && template.reload !== undefined;
    if (isTold) await deps.store.owe(of, index);
    await write(job, bytes, deps, signal);
    if (isTold) await noteWhoReadBefore(job, deps);
  }
  await tellOfChange(job, deps, signal);
}

/** Reads where a template's file stands. @throws {TemplateTrouble} */
export async function readTarget(
  engine: ApplyDeps['engine'],
  store: TemplateStore,
  of: FilesOf,
  index: number,
  { volume }: PlacedTemplate,
): Promise<Buffer | undefined> {
  if (volume === undefined) return store.read(of, index);
  return readBelow(await directoryOf(engine, volume.name), volume.path);
}

async function directoryOf(engine: ApplyDeps['engine'], name: string): Promise<string> {
  const directory = await engine.volumeDirectory(name);
  if (directory !== undefined) return directory;
  throw new TemplateTrouble(
    'TemplateUnwritable',
    `the volume ${name} is no plain directory of this host: only such can be written by the agent`,
  );
}

async function write(
  { of, index, template }: Job,
  bytes: Buffer,
  { store, engine }: ApplyDeps,
  signal: AbortSignal,
): Promise<void> {
  const { volume } = template;
  try {
    if (volume === undefined) await store.write(of, index, bytes, template);
    else await replaceBelow(await directoryOf(engine, volume.name), volume.path, bytes, template);
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof TemplateTrouble || error instanceof EngineError) throw error;
    throw new TemplateTrouble('TemplateUnwritable', messageOf(error));
  }
}

/** Has the new content judged in a container where it stands in its place already. @throws {TemplateTrouble} */
async function check(
  job: Job,
  bytes: Buffer,
  present: Buffer | undefined,
  { store, engine }: ApplyDeps,
  signal: AbortSignal,
): Promise<void> {
  const { of, index, template } = job;
  const { check: command, volume } = template;
  const request = await job.request();
  if (command === undefined) return;
  if (request === undefined) {
    throw new TemplateTrouble(
      'TemplateUnchecked',
      'cannot be checked before the overlay network is up',
    );
  }
  const source = await store.propose(of, index, bytes, template);
  let passed = false;
  try {
    const own = job.own();
    const { exitCode, output } = await engine.runOnce(
      {
        request,
        command,
        files: [{ source, target: template.target }],
        ...(own === undefined ? {} : { networkOf: own.id }),
        timeoutMs: checkTimeoutMs,
      },
      signal,
    );
    passed = exitCode === 0;
    if (passed) return;
    const said = output.replace(/\s+/g, ' ').trim().slice(-longestOutput);
    const how =
      exitCode === undefined
        ? `has not ended after ${String(checkTimeoutMs / 1000)} s`
        : `exit code ${String(exitCode)}`;
    throw new TemplateTrouble(
      'TemplateCheckFailed',
      `${command.join(' ')}: ${how}${said === '' ? '' : `: ${said}`}`,
    );
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof TemplateTrouble) throw error;
    throw new TemplateTrouble('TemplateCheckFailed', messageOf(error));
  } finally {
    await store.forgetProposal(of, index);
    // To mount the content there, the engine has made an empty file in the volume, where none was.
    if (!passed && volume !== undefined && present === undefined) {
      const directory = await engine.volumeDirectory(volume.name).catch(() => undefined);
      if (directory !== undefined) await removeEmptyBelow(directory, volume.path);
    }
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
