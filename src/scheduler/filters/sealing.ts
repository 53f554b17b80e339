import { counted, type Check, type Filter } from '../filter.ts';

/** Contents of config files can be given to hosts only whose agents have told a key to seal them for. */
export const sealing: Filter = (request): Check | undefined => {
  if (request.rules.sealed !== true) return undefined;
  return {
    check: (host) => host.info?.sealingKey !== undefined,
    explain: (n) =>
      counted(n, 'has an agent that takes no configs', 'have agents that take no configs'),
  };
};
