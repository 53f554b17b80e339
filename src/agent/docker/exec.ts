import type Docker from 'dockerode';

/** What is kept of a program's output. */
const keptBytes = 4096;
const frameHeaderBytes = 8;

export interface ExecResult {
  /** Of the exec, for asking about it later. */
  readonly id: string;
  /** Undefined: it had not ended after the timeout, and runs on. */
  readonly exitCode: number | undefined;
  /** The first 4 KiB of standard output and standard error. */
  readonly output: string;
}

/**
 * Runs a program in a running container and waits for its end, or for `timeoutMs`.
 * @param streams client whose connections are not pooled: a hung program holds one.
 */
export async function execInContainer(
  streams: Docker,
  containerId: string,
  command: readonly string[],
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<ExecResult> {
  const timeout = AbortSignal.timeout(timeoutMs);
  const either = signal === undefined ? timeout : AbortSignal.any([signal, timeout]);
  const exec = await streams.getContainer(containerId).exec({
    Cmd: [...command],
    AttachStdout: true,
    AttachStderr: true,
    abortSignal: either,
  });
  const stream = await exec.start({ Detach: false, Tty: false });
  const destroy = (): void => {
    stream.destroy();
  };
  either.addEventListener('abort', destroy, { once: true });
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    if (either.aborted) destroy();
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      // The rest is read, so that the program is not held up, but not kept.
      if (size < keptBytes + 64 * frameHeaderBytes) chunks.push(chunk);
      size += chunk.length;
    }
  } catch (error) {
    if (!timeout.aborted) throw error;
  } finally {
    either.removeEventListener('abort', destroy);
  }
  signal?.throwIfAborted();
  const output = withoutFrames(Buffer.concat(chunks)).subarray(0, keptBytes).toString('utf8');
  if (timeout.aborted) return { id: exec.id, exitCode: undefined, output };
  const { Running, ExitCode } = await exec.inspect();
  return { id: exec.id, exitCode: Running ? undefined : (ExitCode ?? undefined), output };
}

/**
 * Joins the payloads of the engine's stream format: frames of a header (stream number, three zeros, length as
 * 32 bits, big-endian) and a payload. A frame that was cut off counts as far as it goes.
 */
export function withoutFrames(data: Buffer): Buffer {
  const payloads: Buffer[] = [];
  for (let at = 0; at + frameHeaderBytes <= data.length;) {
    const length = data.readUInt32BE(at + 4);
    const start = at + frameHeaderBytes;
    payloads.push(data.subarray(start, start + length));
    at = start + length;
  }
  return Buffer.concat(payloads);
}
