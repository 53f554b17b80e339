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
  /** The last 4 KiB. */
  readonly tail: string;
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
  const kept = new Kept();
  try {
    if (either.aborted) destroy();
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      // All is read, so that the program is not held up.
      kept.push(chunk);
    }
  } catch (error) {
    if (!timeout.aborted) throw error;
  } finally {
    either.removeEventListener('abort', destroy);
  }
  signal?.throwIfAborted();
  const said = { id: exec.id, ...kept.text() };
  if (timeout.aborted) return { ...said, exitCode: undefined };
  const { Running, ExitCode } = await exec.inspect();
  return { ...said, exitCode: Running ? undefined : (ExitCode ?? undefined) };
}

/** Beginning and end of a stream of frames, however long it is. */
class Kept {
  #unread: Buffer = Buffer.alloc(0);
  #head: Buffer = Buffer.alloc(0);
  #tail: Buffer = Buffer.alloc(0);

  push(chunk: Buffer): void {
    const data = Buffer.concat([this.#unread, chunk]);
    let at = 0;
    while (at + frameHeaderBytes <= data.length) {
      const next = at + frameHeaderBytes + data.readUInt32BE(at + 4);
      if (next > data.length) break;
      at = next;
    }
    this.#take(data.subarray(0, at));
    this.#unread = data.subarray(at);
  }

  text(): { output: string; tail: string } {
    this.#take(this.#unread);
    this.#unread = Buffer.alloc(0);
    return { output: this.#head.toString('utf8'), tail: this.#tail.toString('utf8') };
  }

  #take(frames: Buffer): void {
    const payload = withoutFrames(frames);
    const free = keptBytes - this.#head.length;
    if (free > 0) this.#head = Buffer.concat([this.#head, payload.subarray(0, free)]);
    this.#tail = Buffer.concat([this.#tail, payload.subarray(-keptBytes)]).subarray(-keptBytes);
  }
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
