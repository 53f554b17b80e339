import type { HostInfo, InstanceRequest } from './types.ts';

/** A ready host with 4 processors and 8 GiB: for tests. */
export function aHost(name: string, over: Partial<HostInfo> = {}): HostInfo {
  return {
    name,
    machineID: `id-of-${name}`,
    labels: {},
    capacity: { cpuMillis: 4000, memoryBytes: 8 * 1024 ** 3 },
    ready: true,
    unschedulable: false,
    ...over,
  };
}

/** A request that fits anywhere: for tests. */
export function aRequest(id: string, over: Partial<InstanceRequest> = {}): InstanceRequest {
  return {
    id,
    service: 'default/app/web',
    reservation: { cpuMillis: 0, memoryBytes: 0 },
    ports: [],
    rules: { strategy: 'spread' },
    ...over,
  };
}
