import { apiVersion, labels } from '../api/v1alpha1/group.ts';
import type { ObjectMeta, OwnerReference } from '../api/v1alpha1/meta.ts';
import {
  ownedServiceName,
  standaloneProject,
  type ServiceIdentity,
} from '../api/v1alpha1/names.ts';

/** The owner that controls the object, if any. */
export function controllerOf(metadata: ObjectMeta): OwnerReference | undefined {
  return metadata.ownerReferences?.find((owner) => owner.controller === true);
}

/**
 * The identity of a Service object. The labels count only while a Project of that name controls the object and its
 * own name is the one that the Project would give it; or, for the run of a scheduled Service, while that one does.
 * So two objects of a namespace never claim one identity: the identity determines the name.
 */
export function identityOf(metadata: ObjectMeta): ServiceIdentity {
  const namespace = metadata.namespace ?? 'default';
  const project = metadata.labels?.[labels.project];
  const service = metadata.labels?.[labels.service];
  const owner = controllerOf(metadata);
  const schedule = metadata.labels?.[labels.schedule];
  const isOwner = (kind: string, name: string): boolean =>
    owner?.apiVersion === apiVersion && owner.kind === kind && owner.name === name;
  const owned =
    project !== undefined &&
    service !== undefined &&
    metadata.name === ownedServiceName(project, service) &&
    (isOwner('Project', project) ||
      (schedule !== undefined && isOwner('Service', ownedServiceName(project, schedule))));
  return owned
    ? { namespace, project, service }
    : { namespace, project: standaloneProject, service: metadata.name };
}

/** The service, of the same project, that the object is a run of. */
export function scheduleOf(metadata: ObjectMeta): string | undefined {
  const schedule = metadata.labels?.[labels.schedule];
  if (schedule === undefined) return undefined;
  const owner = controllerOf(metadata);
  const name = objectNameOf({ ...identityOf(metadata), service: schedule });
  const isRun = owner?.apiVersion === apiVersion && owner.kind === 'Service' && owner.name === name;
  return isRun ? schedule : undefined;
}

/** Name of the Service object that has this identity. */
export function objectNameOf(id: ServiceIdentity): string {
  return id.project === standaloneProject ? id.service : ownedServiceName(id.project, id.service);
}
