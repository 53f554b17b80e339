import type Docker from 'dockerode';
import { describe, expect, it } from 'vitest';
import type { NetworkState, NetworkWanted } from './engine.ts';
import { networkState } from './from-docker.ts';
import { networkBody, replaceableNetwork } from './network.ts';

const wanted: NetworkWanted = {
  name: 'nap',
  subnet: '10.77.1.0/24',
  gateway: '10.77.1.1',
  options: { 'com.docker.network.driver.mtu': '1450' },
  labels: { a: 'b' },
};
const ipv6 = { subnet: 'fd00:77::a4d:100/120', gateway: 'fd00:77::a4d:101' };
const present: NetworkState = {
  id: 'n',
  subnet: '10.77.1.0/24',
  gateway: '10.77.1.1',
  options: { 'com.docker.network.driver.mtu': '1450', more: 'x' },
};

describe('the Docker network', () => {
  it('is made without a word of IPv6 where none is wanted', () => {
    expect(JSON.stringify(networkBody(wanted))).toBe(
      '{"Name":"nap","Driver":"bridge","CheckDuplicate":true,"Labels":{"a":"b"},' +
        '"IPAM":{"Driver":"default","Config":[{"Subnet":"10.77.1.0/24","Gateway":"10.77.1.1"}]},' +
        '"Options":{"com.docker.network.driver.mtu":"1450"}}',
    );
  });

  it('is made with both families where they are', () => {
    expect(networkBody({ ...wanted, ipv6 })).toMatchObject({
      EnableIPv6: true,
      IPAM: {
        Config: [
          { Subnet: '10.77.1.0/24', Gateway: '10.77.1.1' },
          { Subnet: 'fd00:77::a4d:100/120', Gateway: 'fd00:77::a4d:101' },
        ],
      },
    });
  });

  const odd = { subnet: 'fd00:0077:0::0a4d:0100/120', gateway: 'FD00:77::A4D:101' };
  it.each([
    ['as wanted', present, wanted, false],
    ['another MTU', { ...present, options: {} }, wanted, true],
    ['another gateway', { ...present, gateway: '10.77.1.9' }, wanted, true],
    ['IPv6 switched on', present, { ...wanted, ipv6 }, true],
    ['IPv6 as wanted', { ...present, ipv6 }, { ...wanted, ipv6 }, false],
    ['IPv6 as wanted, in another spelling', { ...present, ipv6: odd }, { ...wanted, ipv6 }, false],
    [
      'another IPv6 gateway',
      { ...present, ipv6: { ...ipv6, gateway: 'fd00:77::a4d:102' } },
      { ...wanted, ipv6 },
      true,
    ],
    [
      'another prefix',
      { ...present, ipv6: { subnet: 'fd00:78::a4d:100/120', gateway: 'fd00:78::a4d:101' } },
      { ...wanted, ipv6 },
      true,
    ],
    ['IPv6 switched off', { ...present, ipv6 }, wanted, true],
    // An engine can be told to give each network some IPv6 subnet: making it anew would give it one again.
    [
      'IPv6 that is not ours',
      { ...present, ipv6: { subnet: 'fd6e:1:2:3::/64', gateway: 'fd6e:1:2:3::1' } },
      wanted,
      false,
    ],
  ])('is made anew only if it has to be: %s', (_, is, should, anew) => {
    expect(replaceableNetwork(is, should)).toBe(anew);
  });
});

describe('what the engine says of a network', () => {
  const info = (EnableIPv6: boolean, ...Config: object[]) =>
    ({
      Id: 'n',
      EnableIPv6,
      IPAM: { Config },
      Options: null,
    }) as unknown as Docker.NetworkInspectInfo;
  const short = { Subnet: '10.77.1.0/24', Gateway: '10.77.1.1' };
  const long = { Subnet: 'fd00:77::a4d:100/120', Gateway: 'fd00:77::a4d:101' };

  it('is told apart by family, in any order', () => {
    const plain = { id: 'n', subnet: '10.77.1.0/24', gateway: '10.77.1.1', options: {} };
    expect(networkState(info(false, short))).toEqual(plain);
    expect(networkState(info(true, short, long))).toEqual({ ...plain, ipv6 });
    expect(networkState(info(true, long, short))).toEqual({ ...plain, ipv6 });
    expect(networkState(info(false, short, long))).toEqual(plain);
  });
});
