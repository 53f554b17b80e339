import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { PortMapping } from './container-spec.ts';
import { formatPort, maxPortRange, parsePorts, portStringPattern } from './port-string.ts';

describe('parsePorts', () => {
  it.each<[string | number, PortMapping[]]>([
    [6379, [{ containerPort: 6379, protocol: 'tcp' }]],
    ['6379', [{ containerPort: 6379, protocol: 'tcp' }]],
    ['53/udp', [{ containerPort: 53, protocol: 'udp' }]],
    ['8080:80', [{ containerPort: 80, protocol: 'tcp', hostPort: 8080 }]],
    ['8080:80/sctp', [{ containerPort: 80, protocol: 'sctp', hostPort: 8080 }]],
    [
      '127.0.0.1:53:5353/udp',
      [{ containerPort: 5353, protocol: 'udp', hostPort: 53, hostIP: '127.0.0.1' }],
    ],
    ['[::1]:80:8080', [{ containerPort: 8080, protocol: 'tcp', hostPort: 80, hostIP: '::1' }]],
    [
      '3000-3001:4000-4001',
      [
        { containerPort: 4000, protocol: 'tcp', hostPort: 3000 },
        { containerPort: 4001, protocol: 'tcp', hostPort: 3001 },
      ],
    ],
    [
      '7000-7001',
      [
        { containerPort: 7000, protocol: 'tcp' },
        { containerPort: 7001, protocol: 'tcp' },
      ],
    ],
  ])('reads %s', (text, expected) => {
    expect(parsePorts(text)).toEqual(expected);
    expect(String(text)).toMatch(new RegExp(portStringPattern));
  });

  it.each<[string | number, RegExp]>([
    ['', /use \[\[HOST_IP:\]HOST_PORT:\]CONTAINER_PORT/],
    ['80:x', /container port "x" must be 1 to 65535/],
    ['x:80', /host port "x" must be 1 to 65535/],
    ['0', /container port "0" must be/],
    [0, /container port "0" must be/],
    [-1, /container port "-1" must be/],
    [65_536, /container port "65536" must be/],
    ['70000:80', /host port "70000" must be/],
    [':80', /host port "" must be/],
    ['80:', /container port "" must be/],
    ['80/http', /"http" is not a protocol: use tcp, udp or sctp/],
    ['80/tcp/udp', /"tcp\/udp" is not a protocol/],
    ['80/', /"" is not a protocol/],
    ['1.2.3:80:80', /"1.2.3" is not an IP address/],
    ['localhost:80:80', /"localhost" is not an IP address/],
    ['127.0.0.1::80', /an address needs a host port/],
    ['::1:80:80', /put the IPv6 address in brackets/],
    ['[::1:80:80', /not a port/],
    ['[127.0.0.1]:80:80', /not an IP address/],
    ['1:2:3:4', /not a port/],
    ['3000-3002:80', /ranges differ in length \(3 host ports, 1 container ports\)/],
    ['3002-3000:80-82', /ends before it begins: use "3000-3002"/],
    ['1-1001', /at most 1000 ports, this has 1001/],
    ['８０', /must be 1 to 65535/],
    ['80 ', /must be 1 to 65535/],
  ])('refuses %s and says what is right', (text, message) => {
    expect(() => parsePorts(text)).toThrow(message);
    expect(() => parsePorts(text)).toThrow(JSON.stringify(text));
  });

  it('reads back what formatPort writes', () => {
    const port = fc.integer({ min: 1, max: 65_535 });
    const mapping: fc.Arbitrary<PortMapping> = fc.oneof(
      fc.record({ containerPort: port, protocol: fc.constantFrom('tcp', 'udp', 'sctp') }),
      fc.record(
        {
          containerPort: port,
          protocol: fc.constantFrom('tcp', 'udp', 'sctp'),
          hostPort: port,
          hostIP: fc.oneof(
            fc.ipV4(),
            fc.ipV6().filter((ip) => !ip.includes('.')),
          ),
        },
        { requiredKeys: ['containerPort', 'protocol', 'hostPort'] },
      ),
    );
    fc.assert(
      fc.property(mapping, (value) => {
        expect(parsePorts(formatPort(value))).toEqual([value]);
        expect(formatPort(value)).toMatch(new RegExp(portStringPattern));
      }),
    );
  });

  it('takes any text without breaking, and nothing that the CRD refuses', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.string(), fc.stringMatching(/^[0-9:./\-[\]tcpud]{0,30}$/)),
        (text) => {
          let ports: PortMapping[];
          try {
            ports = parsePorts(text);
          } catch (error) {
            expect(error).toMatchObject({ name: 'InvalidValueError', retryable: false });
            return;
          }
          expect(text).toMatch(new RegExp(portStringPattern));
          expect(ports.length).toBeGreaterThan(0);
          expect(ports.length).toBeLessThanOrEqual(maxPortRange);
        },
      ),
      { numRuns: 2000 },
    );
  });
});
