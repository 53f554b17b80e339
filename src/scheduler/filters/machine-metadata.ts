import { counted, type Check, type Filter } from '../filter.ts';
import type { HostState } from '../host-state.ts';

/** Only hosts with all the labels asked for; of values separated by commas one suffices (fleet's MachineMetadata). */
export const machineMetadata: Filter = (request): Check | undefined => {
  const wanted = Object.entries(request.rules.machineMetadata ?? {}).map(([key, text]) => ({
    key,
    values: text.split(',').map((value) => value.trim()),
    shown: `${key}=${text}`,
  }));
  if (wanted.length === 0) return undefined;
  const missing = (host: HostState) => {
    const labels = host.info?.labels ?? {};
    return wanted.find(({ key, values }) => {
      const value = Object.hasOwn(labels, key) ? labels[key] : undefined;
      return value === undefined || !values.includes(value);
    });
  };
  return {
    check: (host) => missing(host) === undefined,
    detail: (host) => missing(host)?.shown ?? '',
    explain: (n, label) => `${counted(n, 'lacks', 'lack')} label ${label}`,
  };
};
