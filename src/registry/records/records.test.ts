import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  endpointRecords,
  graceRecords,
  hostRecords,
  instanceId,
  instanceName,
  instanceRecords,
  leaderPath,
  leaderRecords,
  networkConfigPath,
  networkConfigRecords,
  placementRecords,
  RecordError,
  serviceRecords,
  standaloneProject,
  subnetRecords,
} from './index.ts';

const word = fc.stringMatching(/^[a-z0-9_][a-z0-9._-]{0,20}$/);
const instancePlace = fc.record({
  host: word,
  namespace: word,
  project: word,
  service: word,
  ordinal: fc.integer({ min: 1, max: 99_999 }).map(String),
});

describe('paths', () => {
  it('of instances and placements can be read back', () => {
    fc.assert(
      fc.property(instancePlace, (key) => {
        expect(placementRecords.parsePath(placementRecords.path(key))).toEqual(key);
        expect(instanceRecords.parsePath(instanceRecords.path(key))).toEqual(key);
        expect(instanceRecords.parsePath(placementRecords.path(key))).toBeUndefined();
      }),
    );
  });

  it('are the documented ones', () => {
    const key = { host: 'h1', namespace: 'ns', project: 'p', service: 'web', ordinal: '2' };
    expect(placementRecords.path(key)).toBe('/nap/v1/placements/h1/ns/p/web/2');
    expect(instanceRecords.path(key)).toBe('/nap/v1/instances/h1/ns/p/web/2');
    expect(endpointRecords.path(key)).toBe('/services/ns/p/web/2');
    expect(serviceRecords.path(key)).toBe('/nap/v1/services/ns/p/web');
    expect(hostRecords.path(key)).toBe('/nap/v1/hosts/h1');
    expect(graceRecords.path(key)).toBe('/nap/v1/grace/h1');
    expect(leaderPath).toBe('/nap/v1/leader');
    expect(leaderRecords.parsePath(leaderPath)).toBeDefined();
    expect(networkConfigRecords.parsePath(networkConfigPath)).toBeDefined();
  });

  it.each(['', '/', '/nap/v1/hosts/', '/nap/v1/hosts/a/b', '/nap/v1/hosts//', '/nap/v2/hosts/a'])(
    'of no host: "%s"',
    (path) => {
      expect(hostRecords.parsePath(path)).toBeUndefined();
    },
  );
});

describe('flannel records', () => {
  it('stand under the subnet with a dash for the slash', () => {
    const path = '/coreos.com/network/subnets/10.77.3.0-24';
    expect(subnetRecords.path({ subnet: '10.77.3.0/24' })).toBe(path);
    expect(subnetRecords.parsePath(path)).toEqual({ subnet: '10.77.3.0/24' });
    for (const other of ['10.77.3.0', '10.77.3.0-24/x', '10.77.3.0-24&fd00::-64', 'x-24']) {
      expect(subnetRecords.parsePath(`/coreos.com/network/subnets/${other}`)).toBeUndefined();
    }
  });

  it('are read as flanneld writes them and written back the same', () => {
    const lease =
      '{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"vxlan",' +
      '"BackendData":{"VNI":1,"VtepMAC":"82:4b:b6:2f:54:4e"}}';
    expect(subnetRecords.encode(subnetRecords.decode(lease))).toBe(lease);
    const config =
      '{"Network":"10.77.0.0/16","SubnetLen":24,"Backend":{"Type":"vxlan","Port":8472}}';
    expect(networkConfigRecords.encode(networkConfigRecords.decode(config))).toBe(config);
    const hostGw = '{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"host-gw"}';
    expect(subnetRecords.encode(subnetRecords.decode(hostGw))).toBe(hostGw);
  });

  it('keep what others have written beside flannel’s fields, and whatever stands for a key', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (key, other) => {
        const text = JSON.stringify({
          PublicIP: '192.0.2.1',
          PublicIPv6: null,
          BackendType: 'vxlan',
          BackendData: { VNI: 1, VtepMAC: '82:4b:b6:2f:54:4e', WireGuardPublicKey: key, other },
          other,
        });
        const again = subnetRecords.encode(subnetRecords.decode(text));
        expect(JSON.parse(again)).toEqual(JSON.parse(text));
        const config = JSON.stringify({
          Network: '10.77.0.0/16',
          Backend: { Type: 'vxlan', Encryption: key, EncryptionPort: other },
        });
        const read = networkConfigRecords.decode(config);
        expect(JSON.parse(networkConfigRecords.encode(read))).toEqual(JSON.parse(config));
      }),
    );
  });
});

describe('values', () => {
  it('keep fields that a newer version wrote', () => {
    const text = '{"host":"h1","ipv4_addr":"10.0.0.2","ports":[],"zone":{"a":[1]}}';
    expect(JSON.parse(endpointRecords.encode(endpointRecords.decode(text)))).toEqual(
      JSON.parse(text),
    );
  });

  it('that cannot be read say where and why', () => {
    const at = (text: string): string => {
      try {
        endpointRecords.decode(text);
      } catch (error) {
        expect(error).toBeInstanceOf(RecordError);
        return (error as Error).message;
      }
      return 'was read';
    };
    expect(at('{"host"')).toMatch(/endpoint record is not JSON/);
    expect(at('[]')).toMatch(/invalid at \(top\)/);
    expect(at('null')).toMatch(/invalid/);
    expect(at('{"host":"h","ports":[]}')).toMatch(/invalid at ipv4_addr/);
    expect(at('{"host":"h","ipv4_addr":"1","ports":[{"port":"80","protocol":"tcp"}]}')).toMatch(
      /invalid at ports\.0\.port/,
    );
  });

  it('never throw anything but RecordError, whatever the text', () => {
    const kinds = [endpointRecords, hostRecords, placementRecords, instanceRecords, subnetRecords];
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), fc.constantFrom(...kinds), (text, kind) => {
        try {
          kind.decode(text);
        } catch (error) {
          expect(error).toBeInstanceOf(RecordError);
        }
      }),
    );
  });
});

describe('instance names', () => {
  it('carry the project, unless there is none', () => {
    const key = { namespace: 'ns', project: 'shop', service: 'web', ordinal: '3' };
    expect(instanceName(key)).toBe('shop-web-3');
    expect(instanceName({ ...key, project: standaloneProject })).toBe('web-3');
    expect(instanceId(key)).toBe('ns/shop/web/3');
  });
});
