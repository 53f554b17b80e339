import type { ClusterState } from '../cluster-state.ts';
import { counted, type Check, type Filter } from '../filter.ts';
import type { HostState } from '../host-state.ts';

/**
 * Only the host asked for: by name, by machine ID, or by a beginning of one that no other host shares
 * (as fleet and Docker let people type IDs). A whole name or ID wins over a beginning.
 */
export const machineId: Filter = (request, state): Check | undefined => {
  const wanted = request.rules.machineID;
  if (wanted === undefined || wanted === '') return undefined;
  const candidates = find(state, wanted);
  const chosen = candidates.length === 1 ? candidates[0] : undefined;
  return {
    check: (host) => host === chosen,
    explain: (n) =>
      candidates.length > 1
        ? `machineID ${wanted} is ambiguous (${String(candidates.length)} hosts begin with it)`
        : counted(n, `is not machine ${wanted}`, `are not machine ${wanted}`),
  };
};

function find(state: ClusterState, wanted: string): HostState[] {
  const named = state.host(wanted);
  if (named?.info !== undefined) return [named];
  const begins: HostState[] = [];
  for (const host of state.hosts) {
    if (host.info?.machineID === wanted) return [host];
    if (host.info?.machineID.startsWith(wanted)) begins.push(host);
  }
  return begins;
}
