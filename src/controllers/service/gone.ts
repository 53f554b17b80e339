import { isDnsLabel, serviceId, type ServiceIdentity } from '../../api/v1alpha1/names.ts';
import type { KubeClient } from '../../kube/client.ts';
import { services } from '../../kube/resources.ts';
import { identityOf, objectNameOf } from '../identity.ts';

/** Asks the API server itself whether no Service object has this identity. Rejects when it cannot be told. */
export async function isServiceGone(
  client: Pick<KubeClient, 'find'>,
  identity: ServiceIdentity,
  signal: AbortSignal,
): Promise<boolean> {
  const { namespace } = identity;
  const name = objectNameOf(identity);
  // No object can be called so; the record was written by hand.
  if (!isDnsLabel(namespace) || !isDnsLabel(name)) return true;
  const found = await client.find(services, { namespace, name }, signal);
  return found === undefined || serviceId(identityOf(found.metadata)) !== serviceId(identity);
}
