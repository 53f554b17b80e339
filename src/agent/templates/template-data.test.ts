import { describe, expect, it } from 'vitest';
import type { EndpointRecord } from '../../registry/records/index.ts';
import { templateData } from './template-data.ts';

const key = { namespace: 'default', project: 'shop', service: 'proxy', ordinal: '1' };
const host = { name: 'h1', address: '10.0.0.1', machineID: 'm', metadata: {} };

describe('what a template sees of an instance', () => {
  it('has its IPv6 address exactly if it has one', () => {
    const ports = [{ port: 80, protocol: 'tcp' as const }];
    const record = { host: 'h1', ipv4_addr: '10.77.1.5', port: 80, ports };
    const data = templateData(
      key,
      host,
      { watch: [{ service: 'web', alias: 'web' }] },
      () =>
        new Map<string, EndpointRecord>([
          ['1', record],
          ['2', { ...record, ipv4_addr: '10.77.1.6', ipv6_addr: 'fd00:77::a4d:106' }],
        ]),
    ) as { services: { web: { instances: object[] } } };
    expect(data.services.web.instances).toEqual([
      {
        ...{ name: 'shop-web-1', ordinal: 1, host: 'h1' },
        ...{ address: '10.77.1.5', port: 80, ports },
      },
      {
        ...{ name: 'shop-web-2', ordinal: 2, host: 'h1' },
        ...{ address: '10.77.1.6', ipv6: 'fd00:77::a4d:106', port: 80, ports },
      },
    ]);
  });
});
