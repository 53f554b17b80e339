import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DnsService } from '../../../src/agent/dns/dns-service.ts';
import { askServer, NameAudit } from '../../../src/agent/dns/name-audit.ts';
import { hostExec } from '../../../src/agent/host/exec.ts';
import { MemoryStore } from '../../../src/registry/memory/store.ts';
import { endpointRecords, serviceRecords } from '../../../src/registry/records/index.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/telemetry/log.ts';
import { eventually } from '../../support/eventually.ts';

/** Names over the wire: a server of a host with IPv6, and one of a host that carries IPv4 only, on the same records. */
const store = new MemoryStore();
const stop = new AbortController();
const exec = hostExec();
const asker = { namespace: 'default', project: 'shop', service: 'web', ordinal: '1' };
const running: Promise<void>[] = [];
let dual: DnsService;
let plain: DnsService;

function serve(address: string, ipv6Subnet?: string): DnsService {
  const overlay = {
    ...{ network: '10.77.0.0/16', subnet: '10.77.1.0/24', address: '192.0.2.9' },
    ...(ipv6Subnet !== undefined && { ipv6Subnet }),
  };
  const service = new DnsService({
    store,
    log: silentLogger,
    overlay: () => overlay,
    readResolvConf: async () => '',
    upstreams: async () => [],
    port: 0,
  });
  const local = { localInstance: (from: string) => (from === '127.0.0.2' ? asker : undefined) };
  running.push(service.run(address, local, stop.signal));
  return service;
}

async function dig(server: DnsService, ...args: string[]): Promise<string> {
  const at = ['@127.0.0.1', '-p', String(server.port), '-b', '127.0.0.2'];
  return (await exec('dig', [...at, '+tries=1', '+timeout=5', ...args])).stdout.trim();
}

const short = async (server: DnsService, ...args: string[]): Promise<string[]> =>
  (await dig(server, '+short', ...args))
    .split('\n')
    .filter((line) => line !== '')
    .sort();

async function put(service: string, virtualIP: string | undefined, ...last: number[]) {
  const name = { namespace: 'default', project: 'shop', service };
  const record = { uid: 'u', ports: [], links: [], ...(virtualIP && { virtualIP }) };
  await store.commit(
    [],
    [
      { type: 'put', key: serviceRecords.path(name), value: serviceRecords.encode(record) },
      ...last.map((n, i) => ({
        type: 'put' as const,
        key: endpointRecords.path({ ...name, ordinal: String(i + 1) }),
        value: endpointRecords.encode({
          host: 'h',
          ipv4_addr: `10.77.1.${n}`,
          // The last one is on a host without IPv6.
          ...(i < last.length - 1 && { ipv6_addr: `FD00:77::10.77.1.${n}` }),
          ports: [{ port: 80, protocol: 'tcp' as const }],
        }),
      })),
    ],
  );
}

beforeAll(async () => {
  dual = serve('127.0.0.1', 'fd00:77::a4d:100/120');
  await put('web', undefined, 2, 3, 4);
  await put('shared', '10.78.0.1', 5, 6);
  await eventually('names are served', async () => dual.port !== undefined && dual.view.synced);
  plain = serve('127.0.0.1');
  await eventually('names are served', async () => plain.port !== undefined && plain.view.synced);
});

afterAll(async () => {
  stop.abort();
  await Promise.all(running);
});

describe('names where the overlay carries IPv6', () => {
  it('mean the addresses of both families', async () => {
    expect(await short(dual, 'web', 'A')).toEqual(['10.77.1.2', '10.77.1.3', '10.77.1.4']);
    for (const name of ['web', 'tasks.web', 'web.shop.default.nap.local']) {
      expect(await short(dual, name, 'AAAA')).toEqual(['fd00:77::a4d:102', 'fd00:77::a4d:103']);
      expect(await short(dual, '+tcp', name, 'AAAA')).toHaveLength(2);
    }
    expect(await short(dual, 'web-2', 'AAAA')).toEqual(['fd00:77::a4d:103']);
  });

  it('exist without an IPv6 address: one on a host without, and a virtual IP', async () => {
    for (const name of ['web-3', 'shared']) {
      const answer = await dig(dual, name, 'AAAA');
      expect(answer).toContain('status: NOERROR');
      expect(answer).toMatch(/ANSWER: 0, AUTHORITY: 1/);
    }
    expect(await short(dual, 'shared', 'A')).toEqual(['10.78.0.1']);
    expect(await short(dual, 'tasks.shared', 'AAAA')).toEqual(['fd00:77::a4d:105']);
    expect(await dig(dual, 'nothing', 'AAAA')).toContain('status: NXDOMAIN');
  });

  it('come back from addresses', async () => {
    expect(await short(dual, '-x', 'fd00:77::a4d:103')).toEqual(['2.web.shop.default.nap.local.']);
    expect(await dig(dual, '-x', 'fd00:77::a4d:104')).toContain('status: NXDOMAIN');
    // Not ours, and there is nobody to ask.
    expect(await dig(dual, '-x', '2001:db8::1')).toContain('status: SERVFAIL');
  });

  it('stand beside SRV', async () => {
    const answer = await dig(dual, '_80._tcp.web', 'SRV');
    expect(answer).toMatch(
      /1\.web\.shop\.default\.nap\.local\.\s+2\s+IN\s+AAAA\s+fd00:77::a4d:102/,
    );
  });

  it('follow what changes, and are found right by audits', async () => {
    await put('web', undefined, 2, 9, 4);
    await eventually('the change is told', async () =>
      (await short(dual, 'web-2', 'AAAA')).includes('fd00:77::a4d:109'),
    );
    await put('web', undefined, 2, 3, 4);
    let repairs = 0;
    const audit = (server: DnsService, ipv6: object | undefined): NameAudit =>
      new NameAudit({
        store,
        ask: askServer('127.0.0.1', server.port ?? 0),
        ipv6: () => ipv6,
        repair: () => (repairs += 1),
        clock: systemClock,
      });
    const audits = [audit(dual, {}), audit(plain, undefined)];
    for (let service = 0; service < 2; service++) {
      for (const each of audits) expect(await each.audit(stop.signal)).toEqual([]);
    }
    expect(repairs).toBe(0);
  });
});

describe('names where it carries IPv4 only', () => {
  it('are what they were, whatever records say', async () => {
    const answer = await dig(plain, 'web', 'AAAA');
    expect(answer).toContain('status: NOERROR');
    expect(answer).toMatch(/ANSWER: 0, AUTHORITY: 1/);
    expect(await short(plain, 'web', 'A')).toHaveLength(3);
    expect(await dig(plain, '_80._tcp.web', 'SRV')).not.toContain('AAAA');
    expect(await dig(plain, '-x', 'fd00:77::a4d:102')).toContain('status: SERVFAIL');
  });
});
