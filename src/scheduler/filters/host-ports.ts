import { counted, type Check, type Filter } from '../filter.ts';
import type { HostState } from '../host-state.ts';
import type { HostPort } from '../types.ts';

/** Only hosts on which every port that the instance publishes is free. */
export const hostPorts: Filter = (request, state): Check | undefined => {
  const { ports, service } = request;
  if (ports.length === 0) return undefined;
  for (const port of ports) {
    const holder = state.everywhere.get(`${String(port.port)}/${port.protocol}`);
    if (holder === undefined || holder === service || port.ip?.startsWith('127.') === true)
      continue;
    const name = show(port);
    return {
      check: () => false,
      explain: (n) =>
        `${counted(n, 'has', 'have')} port ${name} taken, as every host has: ${holder} publishes it (mesh)`,
    };
  }
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
