import type { ClusterState } from './cluster-state.ts';
import { explain } from './explain.ts';
import { hostPorts } from './filters/host-ports.ts';
import { machineId } from './filters/machine-id.ts';
import { machineMetadata } from './filters/machine-metadata.ts';
import { ready } from './filters/ready.ts';
import { resources } from './filters/resources.ts';
import { schedulable } from './filters/schedulable.ts';
import type { Check, Filter } from './filter.ts';
import type { HostState } from './host-state.ts';
import type { InstanceRequest } from './types.ts';

/** From what says most about a host to what says least: a host counts for the first filter that refuses it. */
const filters: readonly Filter[] = [
  machineId,
  machineMetadata,
  ready,
  schedulable,
  hostPorts,
  resources,
];

/** The filters that have something to say about one request (swarmkit's pipeline). */
export class Pipeline {
  readonly #checks: readonly Check[];

  constructor(request: InstanceRequest, state: ClusterState) {
    this.#checks = filters
      .map((filter) => filter(request, state))
      .filter((check) => check !== undefined);
  }

  /** Whether the host would take the instance now. */
  fits(host: HostState): boolean {
    for (const check of this.#checks) if (!check.check(host)) return false;
    return true;
  }

  /** Why none of the hosts fits, the most frequent cause first. O(hosts). */
  explain(hosts: readonly HostState[]): string {
    return explain(this.#checks, hosts);
  }
}
