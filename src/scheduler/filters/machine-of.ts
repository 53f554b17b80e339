import { counted, type Check, type Filter } from '../filter.ts';
import type { HostState } from '../host-state.ts';

/** Only hosts that have an instance of each of some other services (fleet's MachineOf). */
export const machineOf: Filter = (request, state): Check | undefined => {
  const targets = request.rules.machineOf ?? [];
  if (targets.length === 0) return undefined;
  const wanted = targets.map((target) => ({
    hosts: state.countsOf(target),
    name: target.slice(target.lastIndexOf('/') + 1),
  }));
  const lacking = (host: HostState) => wanted.find(({ hosts }) => !hosts.has(host));
  return {
    check: (host) => lacking(host) === undefined,
    detail: (host) => lacking(host)?.name ?? '',
    explain: (n, name) => counted(n, `has no instance of ${name}`, `have no instance of ${name}`),
  };
};
