/** Small servers and clients that find out where connections go. */

/** Who answered, and as whom he saw the client. */
export interface Seen {
  readonly server: string;
  readonly client: string;
}

/** At which servers listen, unless they are told otherwise. */
export const answersPort = 7777;
/** In the command lines of servers, to find them by. */
export const marker = 'nap-test-answers';

/** Answers each message, by TCP and UDP, with its own address and the client's. */
const server = `
const [ip, port] = process.argv.slice(1);
const say = (to) => ip + ' ' + to + '\\n';
require('net').createServer((s) => {
  s.on('error', () => undefined);
  s.on('data', () => s.write(say(s.remoteAddress)));
}).listen(port, '0.0.0.0', () => {
  const u = require('dgram').createSocket('udp4');
  u.on('message', (m, from) => u.send(say(from.address), from.port, from.address));
  u.bind(Number(port), '0.0.0.0', () => console.log('ready'));
});`;

/** Makes `count` connections one after the other, says something `echoes` times on each, and prints what it hears. */
const client = `
const [to, protocol, count, echoes, pause, port, localPort] = process.argv.slice(1);
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const fail = (error) => { console.error(String(error && error.code || error)); process.exit(1); };
setTimeout(fail, 20000 + echoes * pause, 'TIMEOUT').unref();
const tcp = async () => {
  const from = localPort === '0' ? {} : { localPort: Number(localPort) };
  const s = require('net').connect({ port, host: to, ...from }).on('error', fail).on('end', () => fail('END'));
  for (let i = 0; i < echoes; i++) {
    if (i > 0) await wait(pause);
    s.write('x');
    const [heard] = await require('events').once(s, 'data');
    if (i === 0) process.stdout.write(heard);
  }
  s.destroy();
};
const udp = async () => {
  const s = require('dgram').createSocket('udp4').on('error', fail);
  for (let i = 0; i < echoes; i++) {
    if (i > 0) await wait(pause);
    s.send('x', Number(port), to);
    const heard = await Promise.race([require('events').once(s, 'message'), wait(echoes === '1' ? 10000 : 200)]);
    if (heard) process.stdout.write(heard[0]);
    else if (echoes === '1') fail('TIMEOUT');
  }
  s.close();
};
(async () => { for (let i = 0; i < count; i++) await (protocol === 'udp' ? udp() : tcp()); process.exit(0); })();`;

/** The command of a server on every address, which calls itself `ip`. */
export function serverCommand(ip: string, port = answersPort): readonly string[] {
  return [process.execPath, '-e', server, ip, String(port), marker];
}

export interface CallOptions {
  /** Connections, one after the other. */
  readonly count: number;
  readonly protocol?: 'tcp' | 'udp';
  /** Messages on each. Default 1. */
  readonly echoes?: number;
  /** Between messages. Default 0. */
  readonly pauseMs?: number;
  /** Default: that of servers. */
  readonly port?: number;
  /** The client's own, by TCP. Default: any. */
  readonly localPort?: number;
}

/**
 * The command of a client; it fails with what the kernel says, e.g. ECONNREFUSED, and with END when the server ends a connection.
 * Read its output with `seenIn`.
 */
export function clientCommand(address: string, options: CallOptions): readonly string[] {
  const { count, protocol = 'tcp', echoes = 1, pauseMs = 0, port = answersPort } = options;
  const numbers = [count, echoes, pauseMs, port, options.localPort ?? 0].map(String);
  return [process.execPath, '-e', client, address, protocol, ...numbers];
}

export function seenIn(output: string): readonly Seen[] {
  return output
    .trim()
    .split('\n')
    .map((line) => {
      const [who = '', whom = ''] = line.split(' ');
      return { server: who, client: whom };
    });
}
