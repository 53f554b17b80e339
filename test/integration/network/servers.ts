import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Exec } from '../../../src/agent/host/exec.ts';
import type { TestContainer } from '../../support/netns.ts';

/** A server that runs somewhere. */
export interface Served {
  stop(): void;
}

/** Who answered, and as whom he saw the client. */
export interface Seen {
  readonly server: string;
  readonly client: string;
}

const port = 7777;

/** Answers each message, by TCP and UDP, with its own address and the client's. */
const server = `
const [ip] = process.argv.slice(1);
const say = (to) => ip + ' ' + to + '\\n';
require('net').createServer((s) => {
  s.on('error', () => undefined);
  s.on('data', () => s.write(say(s.remoteAddress)));
}).listen(${port}, '0.0.0.0', () => {
  const u = require('dgram').createSocket('udp4');
  u.on('message', (m, from) => u.send(say(from.address), from.port, from.address));
  u.bind(${port}, '0.0.0.0', () => console.log('ready'));
});`;

/** Makes \`count\` connections one after the other, says something \`echoes\` times on each, and prints what it hears. */
const client = `
const [to, protocol, count, echoes, pause] = process.argv.slice(1);
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const fail = (error) => { console.error(String(error && error.code || error)); process.exit(1); };
setTimeout(fail, 2000 + count * 200 + echoes * pause, 'TIMEOUT').unref();
const tcp = async () => {
  const s = require('net').connect(${port}, to).on('error', fail);
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
    s.send('x', ${port}, to);
    const heard = await Promise.race([require('events').once(s, 'message'), wait(200)]);
    if (heard) process.stdout.write(heard[0]);
    else if (echoes === '1') fail('TIMEOUT');
  }
  s.close();
};
(async () => { for (let i = 0; i < count; i++) await (protocol === 'udp' ? udp() : tcp()); process.exit(0); })();`;

/** Starts a server in a container. */
export async function serve(container: TestContainer): Promise<Served> {
  const [command = '', ...prefix] = container.prefix;
  const child = spawn(command, [...prefix, process.execPath, '-e', server, container.ip]);
  await once(child.stdout, 'data');
  return { stop: () => child.kill('SIGKILL') };
}

/** Speaks to the server behind an address. Rejects with what the client says, e.g. ECONNREFUSED. */
export async function callers(
  from: { readonly exec: Exec },
  address: string,
  options: {
    readonly count: number;
    readonly protocol?: 'tcp' | 'udp';
    readonly echoes?: number;
    readonly pauseMs?: number;
  },
): Promise<readonly Seen[]> {
  const { count, protocol = 'tcp', echoes = 1, pauseMs = 0 } = options;
  const args = [address, protocol, String(count), String(echoes), String(pauseMs)];
  const { stdout } = await from.exec(process.execPath, ['-e', client, ...args], {
    timeoutMs: 30_000,
  });
  return stdout
    .trim()
    .split('\n')
    .map((line) => {
      const [who = '', whom = ''] = line.split(' ');
      return { server: who, client: whom };
    });
}
