/**
 * Cuts a byte stream into lines and parses each as JSON. The engine's streams break anywhere, also inside a
 * character, so bytes are kept until their line is complete. A line that is not JSON is skipped: it is a
 * torn one at the end of a broken stream.
 *
 * @param maxLineBytes a longer line ends the iteration with an error: the peer is not what we think it is.
 */
export async function* readJsonLines(
  source: AsyncIterable<Uint8Array>,
  maxLineBytes = 4 * 1024 * 1024,
): AsyncGenerator {
  let pending: Uint8Array[] = [];
  let pendingBytes = 0;
  for await (const chunk of source) {
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(0x0a, start);
      if (end < 0) break;
      pending.push(chunk.subarray(start, end));
      const parsed = parse(pending);
      pending = [];
      pendingBytes = 0;
      start = end + 1;
      if (parsed !== undefined) yield parsed;
    }
    pending.push(chunk.subarray(start));
    pendingBytes += chunk.length - start;
    if (pendingBytes > maxLineBytes) throw new Error(`line longer than ${maxLineBytes} bytes`);
  }
  const last = parse(pending);
  if (last !== undefined) yield last;
}

function parse(parts: readonly Uint8Array[]): unknown {
  const text = Buffer.concat(parts).toString('utf8').trim();
  if (text === '') return undefined;
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
