import { answerTtlSeconds } from '../../network/names/zone-answer.ts';
import { defaultDrainTimeoutMs } from '../../api/v1alpha1/drain-timeout.ts';
import type { ServiceRecord } from '../../registry/records/index.ts';
import type { ServiceKey } from '../service-feed.ts';
import type { DrainPolicy } from './drainer.ts';

/**
 * What the service's record says of leaving. One that is deleted leaves at once: nobody takes over from it. Until the services have been
 * read, the defaults.
 */
export function drainPolicy(
  services:
    { readonly synced: boolean; find(key: ServiceKey): ServiceRecord | undefined } | undefined,
  key: ServiceKey,
): DrainPolicy {
  if (services === undefined) return { timeoutMs: defaultDrainTimeoutMs, lingerMs: 0 };
  const service = services.find(key);
  if (service === undefined) {
    return { timeoutMs: services.synced ? 0 : defaultDrainTimeoutMs, lingerMs: 0 };
  }
  return {
    timeoutMs: service.drainMs ?? defaultDrainTimeoutMs,
    // Without a virtual IP its name means its instances, and answers are kept by those who asked.
    lingerMs: service.virtualIP === undefined ? answerTtlSeconds * 1000 : 0,
  };
}
