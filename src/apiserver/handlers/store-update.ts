import type { ApiContext } from '../context.ts';
import { conflict, notFound } from '../errors/api-error.ts';
import type { KubeObject } from '../objects/object.ts';
import type { Resource } from '../resources/resource.ts';
import type { StoredObject } from '../storage/stored-object.ts';
import { checkUid, isNoOp } from './admit.ts';

/** How often a write without a precondition is tried against newer states. */
const attempts = 10;

export interface UpdateArgs {
  readonly resource: Resource;
  readonly namespace: string | undefined;
  readonly name: string;
  readonly dryRun: boolean;
  /** Gives the admitted object for a state, in served form. Throws to refuse. Called again after a lost race. */
  readonly change: (old: KubeObject) => KubeObject | Promise<KubeObject>;
  /** The object as the writer believes it to be: a uid of an object that is gone is a conflict, not a 404. */
  readonly expected?: KubeObject;
}

/**
 * Reads, changes and writes an object until no one else got in between. A change of nothing writes nothing; the last
 * finalizer of an object that is being deleted removes it. 404 when it does not exist.
 */
export async function updateStored(context: ApiContext, args: UpdateArgs): Promise<StoredObject> {
  const { resource, namespace, name } = args;
  for (let attempt = 0; attempt < attempts; attempt++) {
    const stored = await context.objects.get(resource, namespace, name);
    if (stored === undefined) {
      if (args.expected !== undefined) checkUid(resource, name, args.expected, undefined);
      throw notFound(resource, name);
    }
    const old = resource.strategy.fromStorage?.(stored.object) ?? stored.object;
    const next = await args.change(old);
    if (isNoOp(old, next)) return stored;
    const object = resource.strategy.toStorage?.(next) ?? next;
    if (args.dryRun) return { ...stored, object };
    if (isFinished(object)) {
      if ((await context.objects.delete(stored)) !== undefined) return { ...stored, object };
      continue;
    }
    const result = await context.objects.update(stored, object);
    if (result.written) return result.stored;
  }
  throw conflict(resource, name);
}

/** Whether an object that is being deleted is held by nothing any more. */
export function isFinished(object: KubeObject): boolean {
  return object.metadata.deletionTimestamp !== undefined && !isHeld(object);
}

/** Whether finalizers, a namespace's own included, keep an object. */
export function isHeld(object: KubeObject): boolean {
  if ((object.metadata.finalizers ?? []).length > 0) return true;
  if (object.kind !== 'Namespace' || object.apiVersion !== 'v1') return false;
  const spec = object['spec'] as { finalizers?: unknown[] } | undefined;
  return (spec?.finalizers ?? []).length > 0;
}
