import { cloneJson, equalJson, type JsonObject } from '../../api/json.ts';
import { trackUpdate } from '../fieldmanager/field-manager.ts';
import type { ApiContext } from '../context.ts';
import { badRequest, conflict, invalid, type FieldCause } from '../errors/api-error.ts';
import { decodeMetadata, invalidValue, validateMetadata } from '../objects/metadata.ts';
import { kubeTime, type KubeObject } from '../objects/object.ts';
import { groupVersion, type Resource } from '../resources/resource.ts';
import type { WriteOptions } from './write-options.ts';

/** An object as decoded from a body: typed metadata, known fields only. */
export interface Decoded {
  readonly object: KubeObject;
  readonly unknown: readonly string[];
}

/**
 * Checks apiVersion and kind against the URL's and decodes the rest. Built-in kinds may leave the two
 * out (client libraries do), custom ones may not.
 */
export function decodeObject(resource: Resource, raw: JsonObject): Decoded {
  const expected = groupVersion(resource);
  const apiVersion = raw['apiVersion'];
  const kind = raw['kind'];
  if (resource.custom && (apiVersion === undefined || kind === undefined)) {
    throw badRequest(
      "Object 'Kind' is missing in the request body: apiVersion and kind are required",
    );
  }
  if (apiVersion !== undefined && apiVersion !== '' && apiVersion !== expected) {
    throw badRequest(
      `the API version in the data (${JSON.stringify(apiVersion)}) does not match the expected API version (${expected})`,
    );
  }
  if (kind !== undefined && kind !== '' && kind !== resource.kind) {
    throw invalid(resource, '', [
      {
        reason: 'FieldValueInvalid',
        message: `Invalid value: ${JSON.stringify(kind)}: must be ${resource.kind}`,
        field: 'kind',
      },
    ]);
  }
  const { metadata, unknown } = decodeMetadata(raw['metadata']);
  const pruned = resource.compiled.prune({
    ...raw,
    apiVersion: expected,
    kind: resource.kind,
    metadata,
  });
  return {
    object: { ...(pruned.object as KubeObject), metadata },
    unknown: [...unknown, ...pruned.unknown.filter((path) => !path.startsWith('metadata.'))],
  };
}

/** Problems of decoding in Kubernetes' words, for strict errors and warnings. */
export function decodingProblems(
  unknown: readonly string[],
  duplicates: readonly string[],
): string[] {
  return [
    ...unknown.map((path) => `unknown field "${path}"`),
    ...duplicates.map((path) => `duplicate field "${path}"`),
  ];
}

/** A new object from a decoded body: everything the server sets, and all checks. */
export function admitCreate(
  context: ApiContext,
  resource: Resource,
  body: KubeObject,
  options: WriteOptions,
  tracked: 'track' | 'tracked',
): KubeObject {
  const now = context.clock.now();
  let object = cloneJson(body);
  const { metadata } = object;
  delete metadata.deletionTimestamp;
  delete metadata.deletionGracePeriodSeconds;
  delete metadata.resourceVersion;
  delete metadata.generation;
  metadata.uid = context.uuid();
  metadata.creationTimestamp = kubeTime(now);
  if (resource.custom) metadata.generation = 1;
  if (resource.status) delete object['status'];
  object = withDefaults(resource, object);
  resource.strategy.prepareCreate?.(object, now);
  check(resource, object, undefined);
  return tracked === 'track' ? track(context, resource, undefined, object, options, '') : object;
}

/** Which part of an object a write is about. */
export type Part = '' | 'status' | 'scale';

/**
 * The object that an update of `old` to `body` gives: server-owned fields are carried over, the part that
 * is not written stays as it was, generation counts, and all checks hold. 422 otherwise.
 */
export function admitUpdate(
  context: ApiContext,
  resource: Resource,
  old: KubeObject,
  body: KubeObject,
  options: WriteOptions,
  part: Part,
  tracked: 'track' | 'tracked',
): KubeObject {
  let object = part === 'status' ? statusOnly(old, body) : cloneJson(body);
  const { metadata } = object;
  metadata.uid ??= old.metadata.uid ?? '';
  metadata.name = old.metadata.name ?? '';
  carry(metadata, old.metadata, 'namespace');
  carry(metadata, old.metadata, 'creationTimestamp');
  carry(metadata, old.metadata, 'deletionTimestamp');
  carry(metadata, old.metadata, 'deletionGracePeriodSeconds');
  carry(metadata, old.metadata, 'generation');
  carry(metadata, old.metadata, 'generateName');
  carry(metadata, old.metadata, 'resourceVersion');
  if (resource.status && part !== 'status') carry(object, old, 'status');
  object = withDefaults(resource, object);
  resource.strategy.prepareUpdate?.(object, old);
  check(resource, object, old);
  if (
    resource.custom &&
    !equalJson(desired(old, resource.status), desired(object, resource.status))
  ) {
    object.metadata.generation = (old.metadata.generation ?? 0) + 1;
  }
  return tracked === 'track' ? track(context, resource, old, object, options, part) : object;
}

/** Whether nothing would change, apart from the times in managedFields. */
export function isNoOp(old: KubeObject, next: KubeObject): boolean {
  return equalJson(comparable(old), comparable(next));
}

function comparable(object: KubeObject): unknown {
  const { managedFields = [] } = object.metadata;
  return {
    ...object,
    metadata: without(dropEmpty({ ...object.metadata }), ['resourceVersion', 'managedFields']),
    managed: managedFields.map((entry) => without({ ...entry }, ['time'])),
  };
}

function dropEmpty(metadata: JsonObject): JsonObject {
  return Object.fromEntries(
    Object.entries(metadata).filter(
      ([, value]) => typeof value !== 'object' || value === null || Object.keys(value).length > 0,
    ),
  );
}

/** What generation counts changes of. */
function desired(object: KubeObject, hasStatus: boolean): unknown {
  const members = ['metadata', 'apiVersion', 'kind', ...(hasStatus ? ['status'] : [])];
  return without({ ...object }, members);
}

/** `object` without some members; changes its argument. */
function without(object: JsonObject, members: readonly string[]): JsonObject {
  for (const member of members) Reflect.deleteProperty(object, member);
  return object;
}

/** `/status` takes the status and nothing else; managedFields may be reset there too. */
function statusOnly(old: KubeObject, body: KubeObject): KubeObject {
  const object = cloneJson(old);
  if (body['status'] === undefined) delete object['status'];
  else object['status'] = cloneJson(body['status']);
  if (body.metadata.managedFields !== undefined) {
    object.metadata.managedFields = cloneJson(body.metadata.managedFields);
  }
  return object;
}

function carry<T extends object>(to: T, from: T, member: keyof T): void {
  if (from[member] === undefined) Reflect.deleteProperty(to, member);
  else to[member] = from[member];
}

/** Defaults never touch metadata, which keeps its own type. */
function withDefaults(resource: Resource, object: KubeObject): KubeObject {
  return { ...(resource.compiled.applyDefaults(object) as KubeObject), metadata: object.metadata };
}

function check(resource: Resource, object: KubeObject, old: KubeObject | undefined): void {
  const causes: FieldCause[] = [
    ...validateMetadata(object, old, resource.strategy.validateName?.bind(resource.strategy)),
    ...resource.compiled.validate(object, old),
    ...(resource.strategy.validate?.(object, old) ?? []),
  ];
  if (causes.length > 0) throw invalid(resource, object.metadata.name ?? '', causes);
}

function track(
  context: ApiContext,
  resource: Resource,
  live: KubeObject | undefined,
  next: KubeObject,
  options: WriteOptions,
  part: Part,
): KubeObject {
  return trackUpdate({
    live,
    next,
    manager: options.manager,
    operation: 'Update',
    apiVersion: groupVersion(resource),
    ...(part === '' ? {} : { subresource: part }),
    now: new Date(context.clock.now()),
    schema: resource.schema,
  }) as KubeObject;
}

/** A uid in the body is that of the object written to: 409 when it is another's, or when there is no object. */
export function checkUid(
  resource: Resource,
  name: string,
  body: KubeObject,
  old: KubeObject | undefined,
): void {
  const { uid } = body.metadata;
  if (uid === undefined || uid === '' || uid === old?.metadata.uid) return;
  throw conflict(
    resource,
    name,
    `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${old?.metadata.uid ?? ''}`,
  );
}

/** A PUT names the state that it replaces: by resourceVersion (demanded for custom kinds), and by uid if given. */
export function checkReplacePreconditions(
  resource: Resource,
  old: KubeObject,
  body: KubeObject,
): void {
  const name = old.metadata.name ?? '';
  const { resourceVersion = '' } = body.metadata;
  checkUid(resource, name, body, old);
  if (resourceVersion === '' || resourceVersion === '0') {
    if (!resource.custom) return;
    throw invalid(resource, name, [
      {
        ...invalidValue('metadata.resourceVersion', 0, ''),
        message: 'Invalid value: 0x0: must be specified for an update',
      },
    ]);
  }
  if (resourceVersion !== old.metadata.resourceVersion) throw conflict(resource, name);
}
