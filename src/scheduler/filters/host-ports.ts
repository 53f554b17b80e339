import { counted, type Check, type Filter } from '../filter.ts';
import type { HostState } from '../host-state.ts';
import type { HostPort } from '../types.ts';

/** Only hosts on which every port that the instance publishes is free. */
export const hostPorts: Filter = (request): Check | undefined => {
  const { ports } = request;
  if (ports.length === 0) return undefined;
  const taken = (host: HostState) => ports.find((port) => host.portTaken(port));
  return {
    check: (host) => taken(host) === undefined,
    detail: (host) => show(taken(host)),
    explain: (n, port) => `${counted(n, 'has', 'have')} port ${port} taken`,
  };
};

function show(port: HostPort | undefined): string {
  if (port === undefined) return '';
  const address = port.ip?.includes(':') ? `[${port.ip}]` : port.ip;
  return `${address === undefined ? '' : `${address}:`}${String(port.port)}/${port.protocol}`;
}
