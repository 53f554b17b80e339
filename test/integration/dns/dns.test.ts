import { createSocket, type Socket } from 'node:dgram';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DnsService } from '../../../src/agent/dns/dns-service.ts';
import { hostExec } from '../../../src/agent/host/exec.ts';
import { MemoryStore } from '../../../src/registry/memory/store.ts';
import {
  endpointRecords,
  serviceRecords,
  type InstanceKey,
  type ServiceRecord,
} from '../../../src/registry/records/index.ts';
import { silentLogger } from '../../../src/telemetry/log.ts';
import { eventually } from '../../support/netns.ts';

const store = new MemoryStore();
const stop = new AbortController();
const exec = hostExec();
const askers = new Map<string, InstanceKey>([
  ['127.0.0.2', { namespace: 'default', project: 'guestbook', service: 'web', ordinal: '1' }],
  ['127.0.0.3', { namespace: 'default', project: 'shop', service: 'web', ordinal: '1' }],
]);
let running: Promise<void>;
let dns: DnsService;
let upstream: Socket;
/** What the upstream resolver was asked. */
const leaked: string[] = [];

async function dig(...args: string[]): Promise<string> {
  const common = ['@127.0.0.1', '-p', String(dns.port), '+tries=1', '+timeout=3'];
  return (await exec('dig', [...common, ...args])).stdout.trim();
}

function putService(
  namespace: string,
  project: string,
  service: string,
  record: Partial<ServiceRecord> = {},
): Promise<unknown> {
  const value = serviceRecords.encode({ uid: 'u', ports: [], links: [], ...record });
  const key = serviceRecords.path({ namespace, project, service });
  return store.commit([], [{ type: 'put', key, value }]);
}

function putEndpoint(
  namespace: string,
  project: string,
  service: string,
  ordinal: number,
  address: string,
  port = 80,
): Promise<unknown> {
  const key = endpointRecords.path({ namespace, project, service, ordinal: String(ordinal) });
  const ports = [{ port, protocol: 'tcp' as const }];
  const value = endpointRecords.encode({ host: 'h', ipv4_addr: address, port, ports });
  return store.commit([], [{ type: 'put', key, value }]);
}

beforeAll(async () => {
  // The host's resolver: answers every question with 192.0.2.1.
  upstream = createSocket('udp4');
  upstream.on('message', (query, from) => {
    leaked.push(query.toString('latin1'));
    const end = query.indexOf(0, 12) + 5;
    const answer = Buffer.concat([
      query.subarray(0, end),
      Buffer.from('c00c00010001000000050004c0000201', 'hex'),
    ]);
    answer.writeUInt16BE(0x8180, 2);
    [1, 1, 0, 0].forEach((count, i) => answer.writeUInt16BE(count, 4 + 2 * i));
    upstream.send(answer, from.port, from.address);
  });
  await new Promise<void>((resolve) => upstream.bind(0, '127.0.0.1', resolve));
  dns = new DnsService({
    store,
    log: silentLogger,
    overlay: () => ({ network: '10.77.0.0/16', subnet: '10.77.1.0/24', address: '192.0.2.9' }),
    readResolvConf: async () => '',
    upstreams: async () => [{ address: '127.0.0.1', port: upstream.address().port }],
    port: 0,
  });
  const local = { localInstance: (address: string) => askers.get(address) };
  running = dns.run('127.0.0.1', local, stop.signal);
  await putService('default', 'guestbook', 'web', {
    ports: [{ port: 80, protocol: 'tcp' }],
    links: [{ service: 'redis-master', alias: 'db' }],
  });
  await putService('default', 'guestbook', 'redis-master');
  await putService('default', 'guestbook', 'idle');
  await putService('default', 'shop', 'web');
  await putEndpoint('default', 'guestbook', 'web', 1, '10.77.1.2');
  await putEndpoint('default', 'guestbook', 'web', 2, '10.77.2.2');
  await putEndpoint('default', 'guestbook', 'redis-master', 1, '10.77.3.2', 6379);
  await putEndpoint('default', 'shop', 'web', 1, '10.77.4.2');
  await putEndpoint('default', '_', 'cache', 1, '10.77.5.2');
  await eventually(async () => dns.port !== undefined && dns.view.synced);
  await eventually(async () => (await dig('+short', 'cache.default.nap.local')) === '10.77.5.2');
});

afterAll(async () => {
  stop.abort();
  await running;
  upstream.close();
});

describe('names', () => {
  it.each([
    ['a service of my project', '127.0.0.2', 'web', ['10.77.1.2', '10.77.2.2']],
    ['the same name elsewhere is another service', '127.0.0.3', 'web', ['10.77.4.2']],
    ['an alias of my links', '127.0.0.2', 'db', ['10.77.3.2']],
    ['one instance', '127.0.0.2', 'web-2', ['10.77.2.2']],
    ['one instance, with a dot', '127.0.0.2', 'web.2', ['10.77.2.2']],
    ['an instance by its hostname', '127.0.0.2', 'guestbook-web-2', ['10.77.2.2']],
    ['any letters', '127.0.0.2', 'WeB-2', ['10.77.2.2']],
    ['a full name', '127.0.0.3', 'redis-master.guestbook.default.nap.local', ['10.77.3.2']],
    ['a full name for a stranger', '127.0.0.9', 'web.shop.default.nap.local', ['10.77.4.2']],
    ['a full instance name', '127.0.0.3', '2.web.guestbook.default.nap.local', ['10.77.2.2']],
    ['a standalone service', '127.0.0.2', 'cache.default.nap.local', ['10.77.5.2']],
    ['a foreign name', '127.0.0.2', 'example.org', ['192.0.2.1']],
  ])('%s', async (_, asker, name, addresses) => {
    const answer = await dig('-b', asker, '+short', name);
    expect(answer.split('\n').sort()).toEqual(addresses);
  });
});
