import { counted, type Check, type Filter } from '../filter.ts';

/** The one host that the request is for: where its volume is, or where a global service has to be. */
export const onlyHost: Filter = (request): Check | undefined => {
  const { only } = request;
  if (only === undefined) return undefined;
  return {
    check: (host) => host.name === only.host,
    explain: (n) =>
      only.why === 'volume'
        ? counted(n, 'does not have its volume', 'do not have its volume') + ` (${only.host} does)`
        : counted(n, `is not ${only.host}`, `are not ${only.host}`),
  };
};
