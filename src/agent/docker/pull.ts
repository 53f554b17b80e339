import { EngineError } from './errors.ts';
import type { PullProgress } from './engine.ts';

/** One line of the stream that a pull answers with (moby pkg/jsonmessage). */
interface PullLine {
  readonly id?: unknown;
  readonly status?: unknown;
  readonly error?: unknown;
  readonly errorDetail?: { readonly message?: unknown } | null;
  readonly progressDetail?: { readonly current?: unknown; readonly total?: unknown } | null;
}

interface Layer {
  current: number;
  total: number;
  done: boolean;
}

/**
 * Reads a pull to its end. A pull answers "200 OK" as soon as it begins, and tells of its failure in a line of
 * the stream: every line is looked at, and the first error is thrown as ImagePullFailed with the engine's words.
 */
export async function followPull(
  image: string,
  lines: AsyncIterable<unknown>,
  onProgress: (progress: PullProgress) => void,
): Promise<void> {
  const layers = new Map<string, Layer>();
  for await (const raw of lines) {
    if (typeof raw !== 'object' || raw === null) continue;
    const line = raw as PullLine;
    const error = errorOf(line);
    if (error !== undefined) throw new EngineError('ImagePullFailed', pullMessage(image, error));
    if (apply(layers, line)) onProgress(sum(layers));
  }
}

/** The sentence that a user reads: always names the image, never twice. */
export function pullMessage(image: string, said: string): string {
  return said.includes(image) ? said : `${image}: ${said}`;
}

/** "12.3 of 40.1 MB, 2 of 5 layers" */
export function describeProgress(progress: PullProgress): string {
  const mb = (bytes: number): string => (bytes / 1e6).toFixed(1);
  const layers = `${progress.layersDone} of ${progress.layers} layers`;
  return progress.totalBytes === 0
    ? layers
    : `${mb(progress.doneBytes)} of ${mb(progress.totalBytes)} MB, ${layers}`;
}

function errorOf(line: PullLine): string | undefined {
  const detail = line.errorDetail?.message;
  if (typeof detail === 'string' && detail !== '') return detail;
  if (typeof line.error === 'string') return line.error;
  return line.errorDetail == null ? undefined : 'pull failed';
}

/** Whether the line told something new about a layer. */
function apply(layers: Map<string, Layer>, line: PullLine): boolean {
  if (typeof line.id !== 'string' || typeof line.status !== 'string') return false;
  if (line.status.startsWith('Pulling from')) return false;
  const layer = layers.get(line.id) ?? { current: 0, total: 0, done: false };
  const { current, total } = line.progressDetail ?? {};
  if (line.status === 'Downloading') {
    if (typeof current === 'number') layer.current = current;
    if (typeof total === 'number' && total > 0) layer.total = total;
  } else if (line.status === 'Download complete') {
    layer.current = layer.total;
  } else if (line.status === 'Pull complete' || line.status === 'Already exists') {
    layer.current = layer.total;
    layer.done = true;
  } else if (layers.has(line.id)) {
    return false;
  }
  layers.set(line.id, layer);
  return true;
}

function sum(layers: ReadonlyMap<string, Layer>): PullProgress {
  let doneBytes = 0;
  let totalBytes = 0;
  let layersDone = 0;
  for (const layer of layers.values()) {
    doneBytes += layer.current;
    totalBytes += layer.total;
    if (layer.done) layersDone++;
  }
  return { doneBytes, totalBytes, layersDone, layers: layers.size };
}
