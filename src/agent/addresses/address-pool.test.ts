import { describe, expect, it } from 'vitest';
import type { ContainerAddress } from '../docker/engine.ts';
import { withAddress, type AddressPool } from './address-pool.ts';

const web = { namespace: 'default', project: 'shop', service: 'web' };

function pool(free: string | undefined, over: Partial<AddressPool> = {}) {
  const released: string[] = [];
  const one: AddressPool = {
    reserve: () => free,
    release: (address) => released.push(address),
    refuse: () => undefined,
    told: async () => undefined,
    ...over,
  };
  return { one, released };
}

const given = (from: AddressPool | undefined): Promise<ContainerAddress | undefined> =>
  withAddress(from, web, async (address) => address);

describe('the address of a container', () => {
  it('is one of IPv4 alone, or its twin, too', async () => {
    const { one, released } = pool('10.77.1.5');
    expect(await given(one)).toEqual({ ipv4: '10.77.1.5' });
    expect(await given({ ...one, ipv6Of: () => undefined })).toEqual({ ipv4: '10.77.1.5' });
    const ipv6Of = (address: string): string => `twin of ${address}`;
    expect(await given({ ...one, ipv6Of })).toEqual({
      ipv4: '10.77.1.5',
      ipv6: 'twin of 10.77.1.5',
    });
    expect(released).toEqual(['10.77.1.5', '10.77.1.5', '10.77.1.5']);
  });

  it('is left to the engine where none is to be had', async () => {
    expect(await given(undefined)).toBeUndefined();
    expect(await given(pool(undefined).one)).toBeUndefined();
  });
});
