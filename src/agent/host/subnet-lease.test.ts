import { describe, expect, it } from 'vitest';
import { formatCidr, parseCidr } from '../../network/address/cidr.ts';
import { overlayConfig } from '../../network/overlay/overlay-config.ts';
import { MemoryDatabase } from '../../registry/memory/database.ts';
import { MemoryStore } from '../../registry/memory/store.ts';
import { subnetRecords } from '../../registry/records/subnet.ts';
import { silentLogger } from '../../telemetry/log.ts';
import { leaseRecord, SubnetHolder } from './subnet-lease.ts';

const config = overlayConfig({ Network: '10.77.0.0/16', Backend: { Type: 'vxlan' } });
const path = (subnet: string): string => subnetRecords.path({ subnet });

function holder(database: MemoryDatabase, random = Math.random) {
  const store = new MemoryStore({ database });
  return { store, holder: new SubnetHolder({ store, log: silentLogger, random }) };
}

function request(
  address: string,
  changes: { previous?: string; mac?: string; pinned?: boolean } = {},
) {
  return {
    config,
    address,
    previous: changes.previous === undefined ? undefined : parseCidr(changes.previous),
    mac: changes.mac,
    pinned: changes.pinned ?? false,
  };
}

describe('taking a subnet', () => {
  it('writes the record that flanneld would, byte for byte, on a lease of a day', async () => {
    const { store, holder: me } = holder(new MemoryDatabase(), () => 0);
    const held = await me.acquire(request('192.0.2.1', { mac: '02:00:00:00:00:01' }));
    expect(formatCidr(held.subnet)).toBe('10.77.1.0/24');
    const entry = await store.get('/coreos.com/network/subnets/10.77.1.0-24');
    expect(entry?.value).toBe(
      '{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}}',
    );
    expect(entry?.lease).toBeDefined();
    expect(me.secure).toBe(true);
  });

  it('tells the key of a host that encrypts, the present one, and none when it does so no more', async () => {
    const { store, holder: me } = holder(new MemoryDatabase(), () => 0);
    const record = async (publicKey?: string): Promise<string | undefined> => {
      await me.acquire({ ...request('192.0.2.1', { mac: '02:00:00:00:00:01' }), publicKey });
      return (await store.get('/coreos.com/network/subnets/10.77.1.0-24'))?.value;
    };
    const plain = await record();
    expect(await record('k1')).toBe(plain?.replace('"}}', '","WireGuardPublicKey":"k1"}}'));
    expect(await record('k2')).toContain('"WireGuardPublicKey":"k2"');
    expect(await record()).toBe(plain);
  });

  it('keeps off a subnet that a flanneld with IPv6 has', async () => {
    const { store, holder: me } = holder(new MemoryDatabase(), () => 0);
    const key = '/coreos.com/network/subnets/10.77.1.0-24&fd00:77::-64';
    const value = JSON.stringify(leaseRecord('192.0.2.1', 1, '02:00:00:00:00:09'));
    await store.commit([], [{ type: 'put', key, value }]);
    const held = await me.acquire(request('192.0.2.1'));
    expect(formatCidr(held.subnet)).toBe('10.77.2.0/24');
    expect((await store.get(key))?.value).toBe(value);
  });

  it('gives hosts that start at the same time different subnets', async () => {
    const database = new MemoryDatabase();
    // All have the same dice: each race is lost by all but one.
    const taken = await Promise.all(
      Array.from({ length: 8 }, async (_, i) => {
        const { holder: one } = holder(database, () => 0);
        return formatCidr((await one.acquire(request(`192.0.2.${i}`))).subnet);
      }),
    );
    expect(new Set(taken).size).toBe(8);
  });

  it('finds subnet and MAC again after a reboot, when the device is gone', async () => {
    const database = new MemoryDatabase();
    const before = holder(database);
    const first = await before.holder.acquire(request('192.0.2.1'));
    before.holder.abandon();
    const after = holder(database);
    expect(await after.holder.acquire(request('192.0.2.1'))).toEqual(first);
  });

  it('keeps a reservation a reservation', async () => {
    const { store, holder: me } = holder(new MemoryDatabase());
    const value = subnetRecords.encode(leaseRecord('192.0.2.1', 1, '02:00:00:00:00:09'));
    await store.commit([], [{ type: 'put', key: path('10.77.50.0/24'), value }]);
    const held = await me.acquire(request('192.0.2.1', { mac: '02:00:00:00:00:01' }));
    expect(formatCidr(held.subnet)).toBe('10.77.50.0/24');
    const entry = await store.get(path('10.77.50.0/24'));
    expect(entry?.lease).toBeUndefined();
    expect(entry?.value).toContain('02:00:00:00:00:01');
    expect(me.secure).toBe(true);
  });

  it('keeps clear of records that it cannot read', async () => {
    const { store, holder: me } = holder(new MemoryDatabase(), () => 0);
    await store.commit([], [{ type: 'put', key: path('10.77.1.0/24'), value: '{"broken' }]);
    expect(formatCidr((await me.acquire(request('192.0.2.1'))).subnet)).toBe('10.77.2.0/24');
  });

  it('will not move when containers use its subnet, and says who is in the way', async () => {
    const { store, holder: me } = holder(new MemoryDatabase());
    const held = await me.acquire(request('192.0.2.1'));
    const subnet = formatCidr(held.subnet);
    const value = subnetRecords.encode(leaseRecord('192.0.2.7', 1, '02:00:00:00:00:07'));
    await store.commit([], [{ type: 'put', key: path(subnet), value }]);
    await expect(
      me.acquire(request('192.0.2.1', { previous: subnet, pinned: true })),
    ).rejects.toThrow(`another host holds ${subnet}`);
  });

  it('says when no subnet is left', async () => {
    const small = overlayConfig({ Network: '10.77.0.0/28', Backend: { Type: 'vxlan' } });
    const database = new MemoryDatabase();
    for (const n of [1, 2, 3]) {
      await holder(database).holder.acquire({ ...request(`192.0.2.${n}`), config: small });
    }
    await expect(
      holder(database).holder.acquire({ ...request('192.0.2.4'), config: small }),
    ).rejects.toThrow('all 3 subnets of 10.77.0.0/28 are taken');
  });
});
