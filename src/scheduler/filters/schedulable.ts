import { counted, type Filter } from '../filter.ts';

const check = {
  check: (host: { info: { unschedulable: boolean } | undefined }) =>
    host.info?.unschedulable === false,
  explain: (n: number) => counted(n, 'is cordoned', 'are cordoned'),
};

/** No host that its owner has cordoned. */
export const schedulable: Filter = () => check;
