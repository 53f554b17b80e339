import { randomBytes } from 'node:crypto';
import type Docker from 'dockerode';
import { onceLabel } from '../../api/v1alpha1/group.ts';
import { createBody } from './container-spec.ts';
import type { DockerClients } from './docker-client.ts';
import type { OnceRequest } from './engine.ts';
import { withoutFrames, type ExecResult } from './exec.ts';

/** What is kept of the output. */
const keptBytes = 4096;
const keptLines = 50;
const removeTimeoutMs = 20_000;

/** The body of the create call: a container like the service's, but for its command, its name and its labels. */
export function onceBody({ request, command, files, networkOf }: OnceRequest): object {
  const delivered = request.delivered ?? { files: [], environment: {} };
  const places = new Set(files.map(({ target }) => target));
  const { HostConfig, NetworkingConfig, Hostname, ...body } = createBody({
    ...request,
    container: {
      ...request.container,
      ports: [],
      restart: 'no',
      healthCheck: { probe: { type: 'none' }, unhealthyAction: 'none' },
    },
    delivered: {
      environment: delivered.environment,
      files: [...delivered.files.filter(({ target }) => !places.has(target)), ...files],
    },
  });
  const { Dns, DnsSearch, ...host } = HostConfig;
  const [program = '', ...args] = command;
  return {
    ...body,
    name: `nap_once_${randomBytes(8).toString('hex')}`,
    Entrypoint: [program],
    Cmd: args,
    // Not the labels by which the agent knows its instances.
    Labels: { [onceLabel]: request.host },
    ...(networkOf === undefined
      ? { Hostname, NetworkingConfig, HostConfig: { ...host, Dns, DnsSearch } }
      : { HostConfig: { ...host, NetworkMode: `container:${networkOf}` } }),
  };
}

/** See Engine.runOnce. */
export async function runOnce(
  { calls, streams }: DockerClients,
  run: OnceRequest,
  signal: AbortSignal,
): Promise<ExecResult> {
  const container = await calls.createContainer({
    ...onceBody(run),
    abortSignal: signal,
  });
  try {
    await container.start({ abortSignal: signal });
    const exitCode = await ended(streams.getContainer(container.id), run.timeoutMs, signal);
    const frames = await container.logs({
      stdout: true,
      stderr: true,
      follow: false,
      tail: keptLines,
      abortSignal: signal,
    });
    const output = withoutFrames(frames).subarray(0, keptBytes).toString('utf8');
    return { id: container.id, exitCode, output, tail: output };
  } finally {
    const abortSignal = AbortSignal.timeout(removeTimeoutMs);
    // A named volume stays; what is left after all is swept at the agent's next start.
    await container.remove({ force: true, v: true, abortSignal }).catch(() => undefined);
  }
}

/** Its exit code; undefined when it takes too long. */
async function ended(
  container: Docker.Container,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<number | undefined> {
  const timeout = AbortSignal.timeout(timeoutMs);
  try {
    const end: unknown = await container.wait({ abortSignal: AbortSignal.any([signal, timeout]) });
    return (end as { StatusCode: number }).StatusCode;
  } catch (error) {
    signal.throwIfAborted();
    if (timeout.aborted) return undefined;
    throw error;
  }
}

/** Those of this host that an earlier agent has not removed. */
export async function removeLeftOvers(
  { calls }: DockerClients,
  host: string,
  madeBefore: number,
  abortSignal: AbortSignal,
): Promise<void> {
  const filters = { label: [`${onceLabel}=${host}`] };
  for (const { Id, Created } of await calls.listContainers({ all: true, filters, abortSignal })) {
    if (Created * 1000 >= madeBefore) continue;
    await calls.getContainer(Id).remove({ force: true, v: true, abortSignal });
  }
}
