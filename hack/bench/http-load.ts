/**
 * Runs inside a host's or a container's network: asks an HTTP server for small things, and prints an HttpReport as JSON.
 * A request that is not answered as it should be ends it with an error.
 *
 *   http-load.ts ADDRESS PORT HOST      HOST: as the requests name it
 */
import { connect, type Socket } from 'node:net';
import { quantile } from './statistics.ts';
import type { HttpReport } from './http-way.ts';

const warmUpSeconds = 1;
const secondsEach = 3;
const atOnce = 16;
/** Requests a second while latency is measured: modest, so that it is the way's and not a queue's. */
const modestRate = 200;
const keptConnections = 8;
const patienceMs = 10_000;

const [address = '', port = '', host = ''] = process.argv.slice(2);
const request = `GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`;

function open(): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address, port: Number(port), noDelay: true });
    socket.setEncoding('latin1').setTimeout(patienceMs, () => {
      socket.destroy(new Error(`no answer within ${patienceMs} ms`));
    });
    socket
      .once('error', reject)
      .once('close', () => {
        reject(new Error('the connection was closed'));
      })
      .once('connect', () => {
        resolve(socket);
      });
  });
}

/** One request on a connection that has none under way. */
function ask(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    let text = '';
    const done = (error?: Error): void => {
      socket.off('data', read).off('error', done).off('close', closed);
      if (error === undefined) resolve();
      else reject(error);
    };
    const closed = (): void => {
      done(new Error('the connection was closed instead of an answer'));
    };
    const read = (more: string): void => {
      text += more;
      if (!text.startsWith('HTTP/1.1 200 ') && text.includes('\r\n')) done(new Error(text));
      else if (text.endsWith('\r\n\r\nok\n')) done();
    };
    socket.on('data', read).on('error', done).on('close', closed);
    socket.write(request);
  });
}

/** One request on a connection of its own. */
async function askAnew(): Promise<void> {
  const socket = await open();
  await ask(socket);
  // Closed the polite way, so many would use up the ports, which wait for latecomers.
  socket.resetAndDestroy();
}

/** Requests a second, each on a new connection, `atOnce` at any time. */
async function newPerSecond(seconds: number): Promise<number> {
  const from = performance.now();
  let answered = 0;
  const client = async (): Promise<void> => {
    while (performance.now() - from < seconds * 1_000) {
      await askAnew();
      answered++;
    }
  };
  await Promise.all(Array.from({ length: atOnce }, client));
  return (answered / (performance.now() - from)) * 1_000;
}

/**
 * Milliseconds that `send` takes when it is called at a constant rate, whether or not earlier calls have ended: a slow answer is
 * not made up for by fewer questions.
 */
async function latencies(seconds: number, send: () => Promise<void>): Promise<number[]> {
  const timed = async (): Promise<number> => {
    const from = performance.now();
    await send();
    return performance.now() - from;
  };
  const from = performance.now();
  const sent: Promise<number>[] = [];
  while (sent.length < seconds * modestRate) {
    if (performance.now() - from >= (sent.length / modestRate) * 1_000) sent.push(timed());
    else await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return Promise.all(sent);
}

/** Asks on connections that were made before; waits for one if all are busy. */
async function keptAlive(): Promise<{ ask: () => Promise<void>; close: () => void }> {
  const all = await Promise.all(Array.from({ length: keptConnections }, open));
  const idle = [...all];
  const waiting: ((socket: Socket) => void)[] = [];
  return {
    ask: async () => {
      const socket = idle.shift() ?? (await new Promise<Socket>((give) => waiting.push(give)));
      await ask(socket);
      const next = waiting.shift();
      if (next === undefined) idle.push(socket);
      else next(socket);
    },
    close: () => {
      for (const socket of all) socket.destroy();
    },
  };
}

// Compiles what is hot, here and there.
await newPerSecond(warmUpSeconds);
const perSecond = await newPerSecond(secondsEach);
const anew = await latencies(secondsEach, askAnew);
const kept = await keptAlive();
const onKept = await latencies(secondsEach, kept.ask);
kept.close();
const report: HttpReport = {
  newPerSecond: perSecond,
  newP50Ms: quantile(anew, 0.5),
  newP99Ms: quantile(anew, 0.99),
  keptP50Ms: quantile(onKept, 0.5),
  keptP99Ms: quantile(onKept, 0.99),
};
process.stdout.write(JSON.stringify(report));
