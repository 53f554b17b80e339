import type { Engine } from '../docker/engine.ts';

/** How long a reload command may take, milliseconds. */
const reloadTimeoutMs = 30_000;

/** The container did not take the news: the command failed or did not end. */
export class ReloadError extends Error {
  override readonly name = 'ReloadError';
}

/** Says to a container that runs that a file of it has changed. @throws {ReloadError} or what the engine throws */
export async function tellContainer(
  engine: Pick<Engine, 'signal' | 'exec'>,
  containerId: string,
  how: { readonly signal?: string | undefined; readonly command?: readonly string[] | undefined },
  signal: AbortSignal,
): Promise<void> {
  if (how.signal !== undefined) await engine.signal(containerId, how.signal, signal);
  if (how.command === undefined) return;
  const { exitCode, output } = await engine.exec(containerId, how.command, reloadTimeoutMs, signal);
  if (exitCode === 0) return;
  const words = how.command.join(' ');
  throw new ReloadError(
    exitCode === undefined
      ? `${words}: has not ended after ${String(reloadTimeoutMs / 1000)} s`
      : `${words}: exit code ${String(exitCode)}${output === '' ? '' : `: ${output.trim()}`}`,
  );
}
