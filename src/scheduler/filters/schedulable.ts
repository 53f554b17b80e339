import { counted, type Filter } from '../filter.ts';
import type { HostState } from '../host-state.ts';

const check = {
  check: (host: HostState) => host.info?.unschedulable === false && host.info.draining !== true,
  detail: (host: HostState) => (host.info?.draining === true ? 'draining' : 'cordoned'),
  explain: (n: number, detail: string) => counted(n, `is ${detail}`, `are ${detail}`),
};

/** No host that its owner has cordoned or is emptying. */
export const schedulable: Filter = () => check;
