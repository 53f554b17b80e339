import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { TestContainer, TestHost } from './netns.ts';

/** Who listens, and what has come. */
export interface Heard {
  readonly child: ChildProcess;
  count: number;
  readonly from: Set<string>;
}

/** Listens for datagrams, and says from whom they come. */
export async function hear(container: TestContainer): Promise<Heard> {
  const script = `const u = require('dgram').createSocket('udp4');
u.on('message', (m, from) => console.log(from.address));
u.bind(7900, () => console.log('ready'));`;
  return listen([...container.prefix, process.execPath, '-e', script]);
}

/** Sends on one UDP flow again and again, and counts the answers. */
export function talk(container: TestContainer, to: string): Promise<Heard> {
  const script = `const u = require('dgram').createSocket('udp4');
u.on('message', () => console.log('${to}'));
u.bind(0, () => { console.log('ready'); setInterval(() => u.send('x', 7777, '${to}'), 50); });`;
  return listen([...container.prefix, process.execPath, '-e', script]);
}

async function listen([program = '', ...args]: readonly string[]): Promise<Heard> {
  const child = spawn(program, args);
  const heard: Heard = { child, count: 0, from: new Set() };
  await once(child.stdout, 'data');
  child.stdout.on('data', (data: Buffer) => {
    for (const line of data.toString().trim().split('\n')) {
      heard.count++;
      heard.from.add(line);
    }
  });
  return heard;
}

/** Sends a datagram under `source`, whether or not it is the sender's. */
export async function say(from: Pick<TestHost, 'exec'>, source: string, to: string): Promise<void> {
  const script = `import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
data = b'x'
udp = struct.pack('!HHHH', 4000, 7900, 8 + len(data), 0) + data
ip = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, socket.inet_aton('${source}'), socket.inet_aton('${to}'))
s.sendto(ip + udp, ('${to}', 0))`;
  await from.exec('python3', ['-c', script]);
}
