import { apiVersion, labels, scheduledAtAnnotation } from '../../api/v1alpha1/group.ts';
import type { Service } from '../../api/v1alpha1/service.ts';
import { isTrue } from '../../kube/conditions.ts';
import { wholeSecondsTime } from '../../kube/times.ts';
import type { Run } from './plan.ts';

/** Name of the Service object of a run: the time is part of it, so the same run is never made twice. */
export function runName(parent: string, atMs: number): string {
  return `${parent}-${String(Math.floor(atMs / 1000))}`;
}

/** The Service that is the run of `parent` for this time. */
export function runObject(parent: Service, atMs: number): Service {
  const { name, namespace, uid, labels: its } = parent.metadata;
  const spec = { ...parent.spec };
  delete spec.schedule;
  const project = its?.[labels.project];
  const service = its?.[labels.service];
  return {
    apiVersion,
    kind: 'Service',
    metadata: {
      name: runName(name, atMs),
      ...(namespace === undefined ? {} : { namespace }),
      labels: {
        ...(project === undefined || service === undefined
          ? {}
          : { [labels.project]: project, [labels.service]: runName(service, atMs) }),
        [labels.schedule]: service ?? name,
      },
      annotations: { [scheduledAtAnnotation]: wholeSecondsTime(atMs) },
      ownerReferences: [
        {
          apiVersion,
          kind: 'Service',
          name,
          uid: uid ?? '',
          controller: true,
          blockOwnerDeletion: true,
        },
      ],
    },
    spec,
  };
}

/** Reads the Service of a run; undefined: it does not say which time it is for. */
export function runOf(object: Service): Run | undefined {
  const atMs = Date.parse(object.metadata.annotations?.[scheduledAtAnnotation] ?? '');
  if (Number.isNaN(atMs)) return undefined;
  const is = (type: string): boolean => isTrue(object.status?.conditions, type);
  return {
    name: object.metadata.name,
    atMs,
    state: is('Complete') ? 'succeeded' : is('Failed') ? 'failed' : 'active',
    leaving: object.metadata.deletionTimestamp !== undefined,
  };
}
