import { beforeEach, describe, expect, it } from 'vitest';
import { VirtualClock } from '../../../test/support/virtual-clock.ts';
import { MemoryStore } from '../../registry/memory/store.ts';
import { endpointRecords, serviceRecords } from '../../registry/records/index.ts';
import { NameAudit, WrongNamesError } from './name-audit.ts';

const web = { namespace: 'default', project: 'shop', service: 'web' };
let clock: VirtualClock;
let store: MemoryStore;
/** What the name server says. */
let says: Map<string, readonly string[]>;
let asked: string[];
let repairs: number;
let onRepair: () => void;
let ipv6: { readonly prefix?: undefined } | undefined;

beforeEach(() => {
  clock = new VirtualClock(0);
  store = new MemoryStore({ clock });
  says = new Map();
  asked = [];
  repairs = 0;
  onRepair = () => undefined;
  ipv6 = undefined;
});

function audit(): NameAudit {
  return new NameAudit({
    store,
    ask: (name, type) => {
      asked.push(type === 'A' ? name : `${name} ${type}`);
      const addresses = says.get(type === 'A' ? name : `${name} ${type}`);
      return addresses === undefined
        ? Promise.reject(new Error(`query${type} ENOTFOUND ${name}`))
        : Promise.resolve(addresses);
    },
    repair: () => {
      repairs += 1;
      onRepair();
    },
    ipv6: () => ipv6,
    clock,
  });
}

async function exists(service: typeof web, virtualIP: string | undefined, ...addresses: string[]) {
  const record = {
    uid: 'u',
    ports: [],
    links: [],
    ...(virtualIP === undefined ? {} : { virtualIP }),
  };
  await store.commit(
    [],
    [
      {
        type: 'put',
        key: serviceRecords.path(service),
        value: serviceRecords.encode(record),
      },
      ...addresses.map((address, i) => ({
        type: 'put' as const,
        key: endpointRecords.path({ ...service, ordinal: String(i + 1) }),
        value: endpointRecords.encode({
          ...{ host: 'h1', ipv4_addr: address, ports: [] },
          ...(ipv6 && { ipv6_addr: `FD00:77:0::${address}` }),
        }),
      })),
    ],
  );
}

/** Runs an audit to its end, however long it waits. */
async function run(one: NameAudit) {
  const { signal } = new AbortController();
  const state: { over: boolean } = { over: false };
  const outcome = one.audit(signal).finally(() => {
    state.over = true;
  });
  outcome.catch(() => undefined);
  while (!state.over) await clock.advance(100);
  return outcome;
}

describe('an audit of names', () => {
  it('finds nothing wrong where names are right, or where there are none', async () => {
    expect(await run(audit())).toEqual([]);
    await exists(web, '10.78.0.1', '10.77.1.2', '10.77.2.2');
    says.set('web.shop.default.nap.local', ['10.78.0.1']);
    says.set('tasks.web.shop.default.nap.local', ['10.77.2.2', '10.77.1.2']);
    expect(await run(audit())).toEqual([]);
    await exists({ ...web, service: 'none' }, undefined);
    expect(await run(audit())).toEqual([]);
    expect(repairs).toBe(0);
  });

  it('looks at one service after the other, round and round', async () => {
    for (const service of ['a', 'b']) await exists({ ...web, service }, undefined);
    const one = audit();
    for (let i = 0; i < 3; i++) await run(one);
    const plain = asked.filter((name) => !name.startsWith('tasks.'));
    expect(plain.map((name) => name[0])).toEqual(['a', 'b', 'a']);
  });

  it('gives a change its time', async () => {
    await exists(web, undefined, '10.77.1.2');
    clock.schedule(() => {
      for (const name of ['', 'tasks.'])
        says.set(`${name}web.shop.default.nap.local`, ['10.77.1.2']);
    }, 1_000);
    expect(await run(audit())).toEqual([]);
    expect(repairs).toBe(0);
  });

  it('has names read anew that stay wrong, and says what was wrong', async () => {
    await exists(web, '10.78.0.1', '10.77.1.2');
    says.set('web.shop.default.nap.local', ['10.78.0.1']);
    says.set('tasks.web.shop.default.nap.local', ['10.77.9.9']);
    onRepair = () => says.set('tasks.web.shop.default.nap.local', ['10.77.1.2']);
    expect(await run(audit())).toEqual([
      {
        kind: 'dns',
        what: 'names read anew: tasks.web.shop.default.nap.local was answered by 10.77.9.9 instead of 10.77.1.2',
      },
    ]);
    expect(repairs).toBe(1);
  });

  it('says so where that does not help', async () => {
    await exists(web, '10.78.0.1');
    await expect(run(audit())).rejects.toThrow(WrongNamesError);
    await expect(run(audit())).rejects.toThrow('instead of 10.78.0.1');
  });

  it('asks for IPv6 where this host answers it, and only there', async () => {
    await exists(web, '10.78.0.1', '10.77.1.2');
    says.set('web.shop.default.nap.local', ['10.78.0.1']);
    says.set('tasks.web.shop.default.nap.local', ['10.77.1.2']);
    expect(await run(audit())).toEqual([]);
    expect(asked.filter((name) => name.endsWith('AAAA'))).toEqual([]);

    ipv6 = {};
    await exists(web, '10.78.0.1', '10.77.1.2');
    says.set('tasks.web.shop.default.nap.local AAAA', ['fd00:77::a4d:102']);
    expect(await run(audit())).toEqual([]);
    says.delete('tasks.web.shop.default.nap.local AAAA');
    await expect(run(audit())).rejects.toThrow('instead of fd00:77::a4d:102');
    says.set('tasks.web.shop.default.nap.local AAAA', ['fd00:77::a4d:102']);
    // A virtual IP has no twin.
    says.set('web.shop.default.nap.local AAAA', ['fd00:77::a4e:1']);
    await expect(run(audit())).rejects.toThrow('answered by fd00:77::a4e:1 instead of nothing');
  });

  it('judges nothing while the registry is away', async () => {
    await exists(web, '10.78.0.1');
    store.disconnect();
    await expect(run(audit())).rejects.not.toThrow(WrongNamesError);
    expect(repairs).toBe(0);
  });
});
