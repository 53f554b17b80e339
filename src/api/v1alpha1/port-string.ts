import { isIP, isIPv4 } from 'node:net';
import type { PortMapping } from './container-spec.ts';

import { InvalidValueError } from './invalid-value.ts';

/**
 * What a port string looks like before its numbers are read: `[[ip:]host[-range]:]container[-range][/proto]`.
 * `%i` in the port of the host is filled in before it is read. The CRD carries it as `pattern`, so it is kept to what Go's RE2 and JavaScript agree on.
 */
export const portStringPattern =
  '^(([0-9.]+|\\[[0-9A-Fa-f:.]+\\]):)?((%i|[0-9]){1,5}(-(%i|[0-9]){1,5})?:)?[0-9]{1,5}(-[0-9]{1,5})?(/(tcp|udp|sctp))?$';

/** Most ports that one range may stand for: each is a proxy or a NAT rule on the host. */
export const maxPortRange = 1000;

const examples = 'e.g. "80", "8080:80", "127.0.0.1:53:53/udp" or "3000-3002:3000-3002"';
const protocols = ['tcp', 'udp', 'sctp'] as const;

/**
 * Reads `[[HOST_IP:]HOST_PORT[-END]:]CONTAINER_PORT[-END][/tcp|udp|sctp]`, compose's short form; a range gives one
 * mapping for each of its ports, in order. An IPv6 address stands in brackets. A number is a container port.
 * @throws {InvalidValueError}
 */
export function parsePorts(value: string | number): PortMapping[] {
  const text = String(value);
  const slash = text.indexOf('/');
  const protocolText = slash < 0 ? 'tcp' : text.slice(slash + 1);
  const protocol = protocols.find((known) => known === protocolText);
  if (protocol === undefined) {
    throw new InvalidValueError(
      value,
      `${JSON.stringify(protocolText)} is not a protocol: use tcp, udp or sctp`,
    );
  }
  const { hostIP, host, container } = splitAddress(value, slash < 0 ? text : text.slice(0, slash));
  const [first, last] = parseRange(value, container, 'container');
  const count = last - first + 1;
  if (host === undefined) {
    return sequence(count, (i) => ({ containerPort: first + i, protocol }));
  }
  const [hostFirst, hostLast] = parseRange(value, host, 'host');
  if (hostLast - hostFirst + 1 !== count) {
    throw new InvalidValueError(
      value,
      `the ranges differ in length (${String(hostLast - hostFirst + 1)} host ports, ${String(count)} container ports): ` +
        'give both the same',
    );
  }
  return sequence(count, (i) => ({
    containerPort: first + i,
    protocol,
    hostPort: hostFirst + i,
    ...(hostIP !== undefined && { hostIP }),
  }));
}

interface PortParts {
  readonly hostIP?: string;
  readonly host?: string;
  readonly container: string;
}

function splitAddress(value: string | number, text: string): PortParts {
  const bracketed = /^\[([^\]]*)\]:(.*)$/.exec(text);
  const parts = (bracketed?.[2] ?? text).split(':');
  const address = bracketed?.[1] ?? (parts.length === 3 ? parts.shift() : undefined);
  const [first = '', second] = parts;
  if (parts.length > 2 || text === '') {
    throw new InvalidValueError(
      value,
      isIP(text.replace(/:\d+:\d+$/, '')) === 6
        ? 'put the IPv6 address in brackets: "[::1]:8080:80"'
        : `not a port: use [[HOST_IP:]HOST_PORT:]CONTAINER_PORT[/PROTOCOL], ${examples}`,
    );
  }
  if (address === undefined) {
    return second === undefined ? { container: first } : { host: first, container: second };
  }
  if (second === undefined || first === '') {
    throw new InvalidValueError(
      value,
      `an address needs a host port behind it: "${address}:8080:${second ?? first}"`,
    );
  }
  if (bracketed ? isIP(address) !== 6 : !isIPv4(address)) {
    throw new InvalidValueError(
      value,
      `${JSON.stringify(address)} is not an IP address of a host: use e.g. "127.0.0.1:8080:80" or "[::1]:8080:80"`,
    );
  }
  return { hostIP: address, host: first, container: second };
}

function parseRange(value: string | number, text: string, side: string): [number, number] {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
  const first = Number(match?.[1]);
  const last = Number(match?.[2] ?? match?.[1]);
  if (!match || first < 1 || last < 1 || first > 65_535 || last > 65_535) {
    throw new InvalidValueError(
      value,
      `the ${side} port ${JSON.stringify(text)} must be 1 to 65535 or a range of such, ${examples}`,
    );
  }
  if (last < first) {
    throw new InvalidValueError(
      value,
      `the ${side} range ends before it begins: use "${String(last)}-${String(first)}"`,
    );
  }
  if (last - first >= maxPortRange) {
    throw new InvalidValueError(
      value,
      `a range may have at most ${String(maxPortRange)} ports, this has ${String(last - first + 1)}`,
    );
  }
  return [first, last];
}

function sequence<T>(count: number, make: (index: number) => T): T[] {
  return Array.from({ length: count }, (_, index) => make(index));
}

/** The way back: `8080:80/udp`; tcp is not written. `parsePorts(formatPort(p))` gives `[p]`. */
export function formatPort(port: PortMapping): string {
  const address = port.hostIP?.includes(':') ? `[${port.hostIP}]` : port.hostIP;
  const host = port.hostPort === undefined ? '' : `${String(port.hostPort)}:`;
  const protocol = port.protocol === 'tcp' ? '' : `/${port.protocol}`;
  return `${address === undefined ? '' : `${address}:`}${host}${String(port.containerPort)}${protocol}`;
}
