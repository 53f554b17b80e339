import { counted, type Filter } from '../filter.ts';

const check = {
  check: (host: { info: { ready: boolean } | undefined }) => host.info?.ready === true,
  explain: (n: number) => counted(n, 'is not ready', 'are not ready'),
};

/** Only hosts that can run containers now. */
export const ready: Filter = () => check;
