import type { ClusterState } from './cluster-state.ts';
import { explain } from './explain.ts';
import { conflicts } from './filters/conflicts.ts';
import { hostPorts } from './filters/host-ports.ts';
import { machineId } from './filters/machine-id.ts';
import { machineMetadata } from './filters/machine-metadata.ts';
import { machineOf } from './filters/machine-of.ts';
import { maxPerHost } from './filters/max-per-host.ts';
import { onlyHost } from './filters/only-host.ts';
import { ready } from './filters/ready.ts';
import { resources } from './filters/resources.ts';
import { sealing } from './filters/sealing.ts';
import { schedulable } from './filters/schedulable.ts';
import type { Check, Filter } from './filter.ts';
import type { HostState } from './host-state.ts';
import type { InstanceRequest } from './types.ts';

/** From what says most about a host to what says least: a host counts for the first filter that refuses it. */
const filters: readonly Filter[] = [
  onlyHost,
  machineId,
  machineMetadata,
  ready,
  schedulable,
  sealing,
  machineOf,
  conflicts,
  maxPerHost,
  hostPorts,
  resources,
];

/** Those of them whose answer is another one for another service. */
const ofService: ReadonlySet<Filter> = new Set([machineOf, conflicts, maxPerHost]);

/** The filters that have something to say about one request (swarmkit's pipeline). */
export class Pipeline {
  readonly #checks: readonly Check[];
  /** Whether another service that asks for the same may get another answer. */
  readonly isOfService: boolean;

  constructor(request: InstanceRequest, state: ClusterState) {
    const checks: Check[] = [];
    let isOfService = false;
    for (const filter of filters) {
      const check = filter(request, state);
      if (check === undefined) continue;
      checks.push(check);
      if (ofService.has(filter)) isOfService = true;
    }
    this.#checks = checks;
    this.isOfService = isOfService;
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
