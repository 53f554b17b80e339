import { serviceId, type ServiceIdentity } from '../../api/v1alpha1/names.ts';
import type { ServiceSpec } from '../../api/v1alpha1/service-spec.ts';
import type { PlacementRules, Preference } from '../../scheduler/index.ts';

/** A service's placement rules in the scheduler's terms: names of services become keys. */
export function rulesOf(identity: ServiceIdentity, spec: ServiceSpec): PlacementRules {
  const { placement } = spec;
  const beside = new Set([
    ...(placement?.machineOf === undefined ? [] : [placement.machineOf]),
    // What has their volumes has to be there.
    ...(spec.volumesFrom ?? []).map((text) => text.split(':')[0] ?? ''),
  ]);
  const machineOf = [...beside].map((service) => serviceId({ ...identity, service }));
  const conflicts = placement?.conflicts?.map((pattern) =>
    pattern.includes('/') ? pattern : `${identity.project}/${pattern}`,
  );
  return {
    strategy: placement?.strategy ?? 'spread',
    ...(placement?.machineMetadata === undefined
      ? {}
      : { machineMetadata: placement.machineMetadata }),
    ...(placement?.machineID === undefined ? {} : { machineID: placement.machineID }),
    ...(machineOf.length === 0 ? {} : { machineOf }),
    ...(conflicts === undefined || conflicts.length === 0 ? {} : { conflicts }),
    ...(placement?.maxPerHost === undefined ? {} : { maxPerHost: placement.maxPerHost }),
    ...(placement?.preferences === undefined
      ? {}
      : { preferences: placement.preferences.map(preferenceOf) }),
  };
}

function preferenceOf(
  written: NonNullable<NonNullable<ServiceSpec['placement']>['preferences']>[number],
): Preference {
  const { weight, spread, machineMetadata = {} } = written;
  return spread === undefined ? { weight, machineMetadata } : { weight, spread };
}
