import type { KubeClient } from '../../kube/client.ts';
import { secrets, type Secret } from '../../kube/resources.ts';

/**
 * A Secret as the API server itself has it now; undefined: there is none. Asked for by a list of that one name, as its watch does: it
 * needs no right that the operator does not have for what services name.
 */
export async function findSecret(
  client: Pick<KubeClient, 'list'>,
  { namespace, name }: { readonly namespace: string; readonly name: string },
  signal: AbortSignal,
): Promise<Secret | undefined> {
  const { items } = await client.list(
    secrets,
    { namespace, fieldSelector: `metadata.name=${name}` },
    signal,
  );
  return items.find(({ metadata }) => metadata.name === name);
}
