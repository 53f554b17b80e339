import { formatByteSizeRounded } from '../../api/v1alpha1/byte-size.ts';
import { formatCpuQuantity } from '../../api/v1alpha1/cpu-quantity.ts';
import { counted, type Check, type Filter } from '../filter.ts';
import type { HostState } from '../host-state.ts';

/** Only hosts with as much unreserved as the instance reserves. Limits and actual use do not matter. */
export const resources: Filter = (request): Check | undefined => {
  const { cpuMillis, memoryBytes } = request.reservation;
  if (cpuMillis <= 0 && memoryBytes <= 0) return undefined;
  const lacksCpu = (host: HostState) =>
    cpuMillis > 0 && host.reservedCpuMillis + cpuMillis > (host.info?.capacity.cpuMillis ?? 0);
  const lacksMemory = (host: HostState) =>
    memoryBytes > 0 &&
    host.reservedMemoryBytes + memoryBytes > (host.info?.capacity.memoryBytes ?? 0);
  const cpu = `${formatCpuQuantity(cpuMillis)} unreserved cpus`;
  const memory = `${formatByteSizeRounded(memoryBytes)} unreserved memory`;
  return {
    check: (host) => !lacksCpu(host) && !lacksMemory(host),
    detail: (host) => {
      if (!lacksMemory(host)) return cpu;
      return lacksCpu(host) ? `${cpu} and ${memory}` : memory;
    },
    explain: (n, amounts) => `${counted(n, 'lacks', 'lack')} ${amounts}`,
  };
};
