import { createSocket } from 'node:dgram';
import { connect, isIPv6 } from 'node:net';
import type { Clock } from '../../runtime/clock.ts';
import { FrameReader, frame } from './tcp-framing.ts';
import { flag, headerBytes, questionEnd } from './wire.ts';

/** A resolver of the host. */
export interface Upstream {
  readonly address: string;
  readonly port: number;
}

/** How a query is brought to a resolver. Gives what closes the socket; `failed` may be called more than once. */
type Carrier = (
  upstream: Upstream,
  query: Buffer,
  received: (answer: Buffer) => void,
  failed: () => void,
) => () => void;

/** The answer of `upstream` to `query`; undefined when none came in time, or `signal` aborted. */
export function exchange(
  upstream: Upstream,
  query: Buffer,
  transport: 'udp' | 'tcp',
  limits: { readonly timeoutMs: number; readonly clock: Clock },
  signal?: AbortSignal,
): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    let done = false;
    const settle = (answer?: Buffer): void => {
      if (done) return;
      done = true;
      cancel();
      signal?.removeEventListener('abort', giveUp);
      close();
      resolve(answer);
    };
    const giveUp = (): void => {
      settle();
    };
    const cancel = limits.clock.schedule(giveUp, limits.timeoutMs);
    signal?.addEventListener('abort', giveUp, { once: true });
    const received = (answer: Buffer): void => {
      if (answers(query, answer)) settle(answer);
    };
    // None of them fails before it has returned.
    const close = carriers[transport](upstream, query, received, giveUp);
    if (signal?.aborted === true) giveUp();
  });
}

const carriers: Record<'udp' | 'tcp', Carrier> = {
  udp: (upstream, query, received, failed) => {
    const socket = createSocket(isIPv6(upstream.address) ? 'udp6' : 'udp4');
    let open = true;
    socket.on('error', failed);
    socket.on('message', received);
    // A connected socket takes packets from this resolver only.
    // Not as connect's callback: that would be called with the error of a network that cannot be reached, too.
    socket.on('connect', () => {
      if (open) socket.send(query);
    });
    socket.connect(upstream.port, upstream.address);
    return () => {
      open = false;
      socket.close();
    };
  },
  tcp: (upstream, query, received, failed) => {
    const socket = connect(upstream.port, upstream.address);
    const reader = new FrameReader();
    socket.on('error', failed);
    socket.on('close', failed);
    socket.on('connect', () => socket.write(frame(query)));
    socket.on('data', (chunk) => {
      for (const message of reader.push(chunk)) received(message);
    });
    return () => {
      socket.destroy();
    };
  },
};

/** Whether `answer` is one to `query`: same id, a response, same question. */
function answers(query: Buffer, answer: Buffer): boolean {
  if (answer.length < headerBytes || answer.readUInt16BE(0) !== query.readUInt16BE(0)) return false;
  const flags = answer.readUInt16BE(2);
  if ((flags & flag.response) === 0) return false;
  // An error may come without the question.
  if (answer.readUInt16BE(4) === 0) return (flags & 15) !== 0;
  const end = questionEnd(query);
  return (
    end !== undefined && query.subarray(headerBytes, end).equals(answer.subarray(headerBytes, end))
  );
}
