import { counted, type Check, type Filter } from '../filter.ts';

/** Only hosts that have fewer instances of the service than its rules allow. */
export const maxPerHost: Filter = (request): Check | undefined => {
  const most = request.rules.maxPerHost;
  if (most === undefined) return undefined;
  return {
    check: (host) => host.ofService < most,
    explain: (n) => `${counted(n, 'has', 'have')} ${String(most)} of it already (maxPerHost)`,
  };
};
