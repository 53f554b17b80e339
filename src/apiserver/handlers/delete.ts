import { cloneJson, isObject, type JsonObject } from '../../api/json.ts';
import type { ApiContext } from '../context.ts';
import { badRequest, conflict, invalid, notFound, type Status } from '../errors/api-error.ts';
import { contentType, decodeObjectBody, readBody } from '../http/body.ts';
import { presentList, presentOne } from '../http/present.ts';
import type { ApiRequest, Reply, Target } from '../http/request.ts';
import { kubeTime, type KubeObject } from '../objects/object.ts';
import type { Resource } from '../resources/resource.ts';
import type { StoredObject } from '../storage/stored-object.ts';
import { listPage, presentation } from './read.ts';
import { isHeld } from './store-update.ts';

export type PropagationPolicy = 'Background' | 'Foreground' | 'Orphan';

export interface DeleteOptions {
  readonly policy: PropagationPolicy | undefined;
  readonly dryRun: boolean;
  readonly uid: string | undefined;
  readonly resourceVersion: string | undefined;
}

const foreground = 'foregroundDeletion';
const orphan = 'orphan';

/** DELETE of one object. */
export async function deleteObject(
  context: ApiContext,
  request: ApiRequest,
  target: Target,
): Promise<Reply> {
  const { resource, namespace, name = '' } = target;
  const how = presentation(context, request);
  const options = await deleteOptions(request);
  const result = await removeObject(context, resource, namespace, name, options);
  if (result.gone && resource.kind !== 'Namespace')
    return { code: 200, body: success(resource, result.last) };
  return { code: 200, body: presentOne(resource, result.last, how) };
}

/** DELETE of a collection: all objects that match, each with its own outcome. */
export async function deleteCollection(
  context: ApiContext,
  request: ApiRequest,
  target: Target,
): Promise<Reply> {
  const { resource } = target;
  const how = presentation(context, request);
  const options = await deleteOptions(request);
  const page = await listPage(context, target, request.query);
  const items: KubeObject[] = [];
  for (const { object } of page.items) {
    const { namespace, name = '' } = object.metadata;
    try {
      items.push((await removeObject(context, resource, namespace, name, options)).last);
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }
  return {
    code: 200,
    body: presentList(resource, items, { resourceVersion: page.revision.toString() }, how),
  };
}

const isNotFound = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 404;

function success(resource: Resource, object: KubeObject): Status {
  return {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Success',
    details: {
      name: object.metadata.name ?? '',
      ...(resource.group === '' ? {} : { group: resource.group }),
      kind: resource.plural,
      uid: object.metadata.uid ?? '',
    },
    code: 200,
  };
}

/** DeleteOptions from the body; only without a body from the query. */
export async function deleteOptions(request: ApiRequest): Promise<DeleteOptions> {
  const bytes = await readBody(request.incoming);
  const raw: JsonObject =
    bytes.length > 0
      ? decodeObjectBody(contentType(request.incoming), bytes).object
      : fromQuery(request.query);
  const refuse = (field: string, value: unknown, allowed: string): never => {
    throw invalid({ group: 'meta.k8s.io', kind: 'DeleteOptions' }, '', [
      {
        reason: 'FieldValueNotSupported',
        message: `Unsupported value: ${JSON.stringify(value)}: supported values: ${allowed}`,
        field,
      },
    ]);
  };
  const policy = raw['propagationPolicy'] ?? undefined;
  if (
    policy !== undefined &&
    policy !== 'Background' &&
    policy !== 'Foreground' &&
    policy !== 'Orphan'
  ) {
    refuse('propagationPolicy', policy, '"Background", "Foreground", "Orphan"');
  }
  const dryRun = raw['dryRun'] ?? [];
  if (!Array.isArray(dryRun) || dryRun.some((value) => value !== 'All'))
    refuse('dryRun', dryRun, '"All"');
  const grace = raw['gracePeriodSeconds'] ?? 0;
  if (typeof grace !== 'number' || !Number.isInteger(grace))
    throw badRequest('gracePeriodSeconds must be an integer');
  const preconditions = raw['preconditions'] ?? {};
  if (!isObject(preconditions)) throw badRequest('preconditions must be an object');
  const text = (member: string): string | undefined => {
    const value = preconditions[member];
    return typeof value === 'string' && value !== '' ? value : undefined;
  };
  const orphanDependents = raw['orphanDependents'];
  return {
    policy:
      (policy as PropagationPolicy | undefined) ??
      (orphanDependents === true ? 'Orphan' : undefined),
    dryRun: Array.isArray(dryRun) && dryRun.length > 0,
    uid: text('uid'),
    resourceVersion: text('resourceVersion'),
  };
}

function fromQuery(query: URLSearchParams): JsonObject {
  const raw: JsonObject = {};
  const policy = query.get('propagationPolicy');
  if (policy !== null && policy !== '') raw['propagationPolicy'] = policy;
  const dryRun = query.getAll('dryRun').filter((value) => value !== '');
  if (dryRun.length > 0) raw['dryRun'] = dryRun;
  const grace = query.get('gracePeriodSeconds');
  if (grace !== null && grace !== '') raw['gracePeriodSeconds'] = Number(grace);
  if (query.get('orphanDependents') === 'true') raw['orphanDependents'] = true;
  return raw;
}

/** How often a deletion is tried against newer states. */
const attempts = 10;

/** Removes an object, or marks it as being deleted while finalizers hold it. 404 when it is absent, 409 by preconditions. */
export async function removeObject(
  context: ApiContext,
  resource: Resource,
  namespace: string | undefined,
  name: string,
  options: DeleteOptions,
): Promise<{ readonly gone: boolean; readonly last: KubeObject }> {
  for (let attempt = 0; attempt < attempts; attempt++) {
    const stored = await context.objects.get(resource, namespace, name);
    if (stored === undefined) throw notFound(resource, name);
    checkPreconditions(resource, stored, options);
    const marked = markDeleted(stored.object, options.policy, context.clock.now());
    if (!isHeld(marked)) {
      if (options.dryRun) return { gone: true, last: stored.object };
      if ((await context.objects.delete(stored)) !== undefined)
        return { gone: true, last: stored.object };
      continue;
    }
    if (stored.object.metadata.deletionTimestamp !== undefined)
      return { gone: false, last: stored.object };
    if (options.dryRun) return { gone: false, last: marked };
    const result = await context.objects.update(stored, marked);
    if (result.written) return { gone: false, last: result.stored.object };
  }
  throw conflict(resource, name);
}

function checkPreconditions(
  resource: Resource,
  { object }: StoredObject,
  options: DeleteOptions,
): void {
  const { uid, resourceVersion, name = '' } = object.metadata;
  if (options.uid !== undefined && options.uid !== uid) {
    throw conflict(
      resource,
      name,
      `Precondition failed: UID in precondition: ${options.uid}, UID in object meta: ${uid ?? ''}`,
    );
  }
  if (options.resourceVersion !== undefined && options.resourceVersion !== resourceVersion) {
    throw conflict(
      resource,
      name,
      `Precondition failed: ResourceVersion in precondition: ${options.resourceVersion}, ResourceVersion in object meta: ${resourceVersion ?? ''}`,
    );
  }
}

/** The object as it is while it is being deleted. */
function markDeleted(
  old: KubeObject,
  policy: PropagationPolicy | undefined,
  nowMs: number,
): KubeObject {
  if (old.metadata.deletionTimestamp !== undefined) return old;
  const object = cloneJson(old);
  const { metadata } = object;
  const finalizers = new Set(metadata.finalizers ?? []);
  if (policy !== undefined) {
    finalizers.delete(foreground);
    finalizers.delete(orphan);
    if (policy === 'Foreground') finalizers.add(foreground);
    if (policy === 'Orphan') finalizers.add(orphan);
  }
  if (finalizers.size > 0) metadata.finalizers = [...finalizers];
  else delete metadata.finalizers;
  metadata.deletionTimestamp = kubeTime(nowMs);
  metadata.deletionGracePeriodSeconds = 0;
  if (metadata.generation !== undefined) metadata.generation += 1;
  if (object.kind === 'Namespace' && object.apiVersion === 'v1') {
    object['status'] = {
      ...(isObject(object['status']) ? object['status'] : {}),
      phase: 'Terminating',
    };
  }
  return object;
}
