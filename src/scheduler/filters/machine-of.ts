import { counted, type Check, type Filter } from '../filter.ts';

/** Only hosts that have an instance of another service (fleet's MachineOf). */
export const machineOf: Filter = (request, state): Check | undefined => {
  const target = request.rules.machineOf;
  if (target === undefined) return undefined;
  const hosts = state.countsOf(target);
  const name = target.slice(target.lastIndexOf('/') + 1);
  return {
    check: (host) => hosts.has(host),
    explain: (n) => counted(n, `has no instance of ${name}`, `have no instance of ${name}`),
  };
};
