import type { ClusterState } from './cluster-state.ts';
import type { HostState } from './host-state.ts';
import type { InstanceRequest } from './types.ts';

/** A filter that was told the request. `check` is called for many hosts: it must be cheap and must not allocate. */
export interface Check {
  check(host: HostState): boolean;
  /**
   * What a refused host lacks, when one filter can refuse for several causes (which label, which port).
   * Hosts with one detail are counted together.
   */
  detail?(host: HostState): string;
  /** `2 lack label disk=ssd`: the words for `n` hosts refused with this detail. */
  explain(n: number, detail: string): string;
}

/**
 * One reason for which a host may not do (swarmkit's SetTask/Check/Explain). Gives undefined when the request does not
 * care. Within one batch a host that was refused stays refused: filters may only depend on what placing makes worse.
 */
export type Filter = (request: InstanceRequest, state: ClusterState) => Check | undefined;

/** `1 is`, `3 are`. */
export function counted(n: number, one: string, many: string): string {
  return `${String(n)} ${n === 1 ? one : many}`;
}
