import { cloneJson } from '../../api/json.ts';
import type { ApiContext } from '../context.ts';
import {
  alreadyExists,
  ApiError,
  badRequest,
  forbidden,
  notFound,
  unavailable,
  type ErrorSubject,
} from '../errors/api-error.ts';
import { contentType, decodeObjectBody, readBody } from '../http/body.ts';
import { presentOne } from '../http/present.ts';
import type { ApiRequest, Reply, Target } from '../http/request.ts';
import { generateName } from '../objects/names.ts';
import type { KubeObject } from '../objects/object.ts';
import type { Resource } from '../resources/resource.ts';
import type { StoredObject } from '../storage/stored-object.ts';
import { admitCreate, decodeObject, decodingProblems } from './admit.ts';
import { presentation } from './read.ts';
import { writeOptions, type WriteOptions } from './write-options.ts';

const namespaceSubject: ErrorSubject = { group: '', plural: 'namespaces', kind: 'Namespace' };

/** How often a lost race for the namespace, or a taken generated name, is tried again. */
const attempts = 8;

/** POST to a collection. */
export async function createObject(
  context: ApiContext,
  request: ApiRequest,
  target: Target,
): Promise<Reply> {
  const { resource } = target;
  const options = writeOptions(request, 'CreateOptions');
  const how = presentation(context, request);
  const type = contentType(request.incoming);
  const body = decodeObjectBody(type, await readBody(request.incoming));
  const { object, unknown } = decodeObject(resource, body.object);
  reportProblems(request, options, decodingProblems(unknown, body.duplicates));
  if (object.metadata.resourceVersion !== undefined && object.metadata.resourceVersion !== '') {
    throw badRequest('resourceVersion should not be set on objects to be created');
  }
  placeInNamespace(object, target);
  const stored = await insert(context, resource, object, options, 'track');
  return { code: 201, body: presentOne(resource, stored.object, how) };
}

/** Under Strict the problems refuse the write, under Warn they become warnings. */
export function reportProblems(
  request: ApiRequest,
  options: WriteOptions,
  problems: readonly string[],
): void {
  if (problems.length === 0 || options.fieldValidation === 'Ignore') return;
  if (options.fieldValidation === 'Strict') {
    throw badRequest(`strict decoding error: ${problems.join(', ')}`);
  }
  for (const problem of problems) request.warn(problem);
}

/** The namespace comes from the URL; a body that names another one is refused. */
export function placeInNamespace(object: KubeObject, { resource, namespace }: Target): void {
  const { metadata } = object;
  if (!resource.namespaced || namespace === undefined) {
    if ((metadata.namespace ?? '') !== '') {
      throw badRequest('namespace may not be set on a cluster-scoped object');
    }
    delete metadata.namespace;
    return;
  }
  if (
    metadata.namespace !== undefined &&
    metadata.namespace !== '' &&
    metadata.namespace !== namespace
  ) {
    throw badRequest(
      'the namespace of the provided object does not match the namespace sent on the request',
    );
  }
  metadata.namespace = namespace;
}

/** Admits and stores a new object (in the form that its resource is served in). */
export async function insert(
  context: ApiContext,
  resource: Resource,
  body: KubeObject,
  options: WriteOptions,
  tracked: 'track' | 'tracked',
): Promise<StoredObject> {
  const { name = '', generateName: base = '' } = body.metadata;
  for (let attempt = 0; attempt < attempts; attempt++) {
    const named = cloneJson(body);
    if (name === '' && base !== '') named.metadata.name = generateName(base, context.random);
    const namespace = await namespaceOf(context, resource, named);
    const admitted = admitCreate(context, resource, named, options, tracked);
    const object = resource.strategy.toStorage?.(admitted) ?? admitted;
    const taken = await context.objects.get(
      resource,
      object.metadata.namespace,
      object.metadata.name ?? '',
    );
    if (taken !== undefined) {
      if (name === '') continue;
      throw alreadyExists(resource, name, taken.object.metadata.deletionTimestamp !== undefined);
    }
    if (options.dryRun) return { key: '', revision: 0n, object };
    const result = await context.objects.create(resource, object, namespace);
    if (result.written) return result.stored;
  }
  throw unavailable('the object could not be created because of continuous contention');
}

/** The namespace that a new object goes into; 404 without it, 403 while it is being deleted. */
async function namespaceOf(
  context: ApiContext,
  resource: Resource,
  object: KubeObject,
): Promise<StoredObject | undefined> {
  const name = object.metadata.namespace;
  const namespaces = context.resources.find('v1', 'namespaces');
  if (!resource.namespaced || name === undefined || namespaces === undefined) return undefined;
  const namespace = await context.objects.get(namespaces, undefined, name);
  if (namespace === undefined) throw notFound(namespaceSubject, name);
  if (namespace.object.metadata.deletionTimestamp !== undefined) {
    const why = `unable to create new content in namespace ${name} because it is being terminated`;
    const error = forbidden(resource, object.metadata.name ?? '', why);
    throw new ApiError(403, 'Forbidden', error.message, {
      ...error.details,
      causes: [
        {
          reason: 'NamespaceTerminating',
          message: `namespace ${name} is being terminated`,
          field: 'metadata.namespace',
        },
      ],
    });
  }
  return namespace;
}
