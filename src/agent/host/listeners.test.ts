import { describe, expect, it } from 'vitest';
import { busyPorts, listeners } from './listeners.ts';

const head =
  '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode';
const rest = '00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0';

/** As the kernel's files say it, one after the other. */
const listing = [
  '/proc/net/tcp',
  head,
  `   0: 00000000:0050 00000000:0000 0A ${rest}`,
  `   1: 0100007F:0051 00000000:0000 0A ${rest}`,
  `   2: 0A00000A:0052 0B00000A:C000 01 ${rest}`,
  '/proc/net/tcp6',
  head,
  `   0: 00000000000000000000000000000000:0053 00000000000000000000000000000000:0000 0A ${rest}`,
  `   1: 00000000000000000000000001000000:0054 00000000000000000000000000000000:0000 0A ${rest}`,
  '/proc/net/udp',
  head,
  ` 100: 00000000:0055 00000000:0000 07 ${rest}`,
  ` 101: 0A00000A:0056 0B00000A:0035 01 ${rest}`,
  '/proc/net/udp6',
].join('\n');

describe('ports at which the host itself waits', () => {
  it('are those of listening sockets, but on loopback alone, and not of open connections', () => {
    expect([...listeners(listing)].sort()).toEqual(['tcp . 80', 'tcp . 83', 'udp . 85']);
  });

  it('are told of those that were asked for, and cost nothing when none is', async () => {
    const asked: string[] = [];
    const exec = (command: string) => {
      asked.push(command);
      return Promise.resolve({ stdout: listing, stderr: '' });
    };
    const ports = [
      { port: 80, protocol: 'tcp' as const },
      { port: 80, protocol: 'udp' as const },
    ];
    expect([...(await busyPorts(exec, ports))]).toEqual(['tcp . 80']);
    expect([...(await busyPorts(exec, []))]).toEqual([]);
    expect(asked).toHaveLength(1);
  });
});
