import { isObject, type JsonObject } from '../../api/json.ts';
import { ApplyError, applyPatch, type FieldConflict } from '../fieldmanager/field-manager.ts';
import type { ApiContext } from '../context.ts';
import {
  ApiError,
  badRequest,
  conflict,
  invalid,
  unsupportedMediaType,
} from '../errors/api-error.ts';
import { contentType, decodeJson, decodeYaml, readBody, type DecodedBody } from '../http/body.ts';
import { presentOne } from '../http/present.ts';
import type { ApiRequest, Reply, Target } from '../http/request.ts';
import { kubeTime, type KubeObject } from '../objects/object.ts';
import { groupVersion, type Resource } from '../resources/resource.ts';
import type { StoredObject } from '../storage/stored-object.ts';
import { admitUpdate, decodeObject, decodingProblems, type Part } from './admit.ts';
import { insert, placeInNamespace } from './create.ts';
import { jsonPatch, mergePatch, strategicMergePatch } from './patch-formats.ts';
import { presentation } from './read.ts';
import { updateStored } from './store-update.ts';
import { checkName } from './update.ts';
import { writeOptions, type WriteOptions } from './write-options.ts';

const jsonPatchType = 'application/json-patch+json';
const mergePatchType = 'application/merge-patch+json';
const strategicType = 'application/strategic-merge-patch+json';
const applyType = 'application/apply-patch+yaml';

/** Media types that a PATCH of `resource` may have. Custom kinds know no strategic merge. */
function patchTypes(resource: Resource): string[] {
  return resource.custom
    ? [jsonPatchType, mergePatchType, applyType]
    : [jsonPatchType, mergePatchType, strategicType, applyType];
}

/** PATCH of an object or of its status. */
export async function patchObject(
  context: ApiContext,
  request: ApiRequest,
  target: Target,
  authorizeCreate: () => void,
): Promise<Reply> {
  const type = contentType(request.incoming);
  if (!patchTypes(target.resource).includes(type))
    throw unsupportedMediaType(patchTypes(target.resource));
  const options = writeOptions(request, 'PatchOptions', type === applyType);
  const bytes = await readBody(request.incoming);
  if (type === applyType) {
    return applyObject(context, request, target, options, decodeYaml(bytes), authorizeCreate);
  }
  return changeObject(context, request, target, options, decodePatch(bytes), type);
}

function decodePatch(bytes: Buffer): DecodedBody {
  try {
    return decodeJson(bytes);
  } catch (error) {
    if (error instanceof ApiError) throw badRequest(`error decoding patch: ${error.message}`);
    throw error;
  }
}

/** Applies a patch document of one of the three plain formats. */
export function patchDocument(type: string, document: JsonObject, patch: unknown): JsonObject {
  if (type !== jsonPatchType && !isObject(patch))
    throw badRequest('error decoding patch: the patch is not an object');
  const patched =
    type === jsonPatchType
      ? jsonPatch(document, patch)
      : type === mergePatchType
        ? mergePatch(document, patch)
        : strategicMergePatch(document, patch);
  if (!isObject(patched)) throw badRequest('error decoding patch: the result is not an object');
  return patched;
}

const partOf = (target: Target): Part => (target.subresource === 'status' ? 'status' : '');

async function changeObject(
  context: ApiContext,
  request: ApiRequest,
  target: Target,
  options: WriteOptions,
  patch: DecodedBody,
  type: string,
): Promise<Reply> {
  const { resource, namespace, name = '' } = target;
  const how = presentation(context, request);
  let problems: string[] = [];
  const stored = await updateStored(context, {
    resource,
    namespace,
    name,
    dryRun: options.dryRun,
    change: (old) => {
      const { object, unknown } = decodeObject(resource, patchDocument(type, old, patch.value));
      problems = decodingProblems(unknown, patch.duplicates);
      if (options.fieldValidation === 'Strict' && problems.length > 0) {
        throw invalid({ group: '', kind: '' }, '', [
          {
            reason: 'FieldValueInvalid',
            message: `Invalid value: ${JSON.stringify(patch.value)}: strict decoding error: ${problems.join(', ')}`,
            field: 'patch',
          },
        ]);
      }
      checkName(object, name);
      placeInNamespace(object, target);
      checkRevision(resource, old, object);
      return admitUpdate(context, resource, old, object, options, partOf(target), 'track');
    },
  });
  if (options.fieldValidation === 'Warn') for (const problem of problems) request.warn(problem);
  return { code: 200, body: presentOne(resource, stored.object, how) };
}

/** A patch that leaves another resourceVersion behind was meant for another state. */
function checkRevision(resource: Resource, old: KubeObject, patched: KubeObject): void {
  const wanted = patched.metadata.resourceVersion ?? '';
  if (wanted !== '' && wanted !== old.metadata.resourceVersion) {
    throw conflict(resource, old.metadata.name ?? '');
  }
}

/** Server-side apply: creates the object when it is absent, for which the right to patch is not enough. */
async function applyObject(
  context: ApiContext,
  request: ApiRequest,
  target: Target,
  options: WriteOptions,
  body: DecodedBody,
  authorizeCreate: () => void,
): Promise<Reply> {
  const { resource, namespace, name = '' } = target;
  const how = presentation(context, request);
  const applied = decodeApplied(target, body);
  const part = partOf(target);
  const merge = (live: KubeObject | undefined): KubeObject => {
    const revision = applied.metadata.resourceVersion ?? '';
    if (revision !== '' && revision !== live?.metadata.resourceVersion)
      throw conflict(resource, name);
    return mergeApplied(context, resource, live, applied, options, part);
  };
  let stored: StoredObject;
  let code = 200;
  try {
    stored = await updateStored(context, {
      resource,
      namespace,
      name,
      dryRun: options.dryRun,
      change: (old) => admitUpdate(context, resource, old, merge(old), options, part, 'tracked'),
    });
  } catch (error) {
    if (!(error instanceof ApiError) || error.code !== 404 || part !== '') throw error;
    authorizeCreate();
    const fresh = decodeObject(resource, merge(undefined)).object;
    stored = await insert(context, resource, fresh, options, 'tracked');
    code = 201;
  }
  return { code, body: presentOne(resource, stored.object, how) };
}

function decodeApplied(target: Target, body: DecodedBody): KubeObject {
  const { resource, namespace, name = '' } = target;
  if (!isObject(body.value)) throw badRequest('error decoding YAML: the body is not an object');
  const { apiVersion, kind } = body.value;
  if (typeof apiVersion !== 'string' || typeof kind !== 'string') {
    throw badRequest("Object 'Kind' is missing: apiVersion and kind are required for apply");
  }
  const { object, unknown } = decodeObject(resource, body.value);
  const problem =
    unknown.map((path) => `.${path}: field not declared in schema`)[0] ??
    body.duplicates.map((path) => `duplicate field "${path}"`)[0];
  if (problem !== undefined) {
    const where = namespace === undefined ? name : `${namespace}/${name}`;
    throw badRequest(
      `failed to create typed patch object (${where}; ${groupVersion(resource)}, Kind=${resource.kind}): ${problem}`,
    );
  }
  if (object.metadata.managedFields !== undefined && object.metadata.managedFields.length > 0) {
    throw badRequest('metadata.managedFields must be nil');
  }
  checkName(object, name);
  placeInNamespace(object, target);
  return object;
}

function mergeApplied(
  context: ApiContext,
  resource: Resource,
  live: KubeObject | undefined,
  applied: KubeObject,
  options: WriteOptions,
  part: Part,
): KubeObject {
  const mine: JsonObject = { ...applied };
  // Each endpoint owns its own part: the other one's fields in the body are not taken into account.
  if (part === 'status') {
    for (const member of Object.keys(mine)) {
      if (!['apiVersion', 'kind', 'metadata', 'status'].includes(member))
        Reflect.deleteProperty(mine, member);
    }
  } else if (resource.status) {
    delete mine['status'];
  }
  const now = context.clock.now();
  try {
    const result = applyPatch({
      live,
      applied: mine,
      manager: options.manager,
      force: options.force,
      apiVersion: groupVersion(resource),
      ...(part === '' ? {} : { subresource: part }),
      now: new Date(Date.parse(kubeTime(now))),
      schema: resource.schema,
    });
    if ('conflicts' in result) throw applyConflict(result.conflicts);
    return result.object as KubeObject;
  } catch (error) {
    if (!(error instanceof ApplyError)) throw error;
    if (error.code === 400) throw badRequest(error.message);
    throw invalid(resource, applied.metadata.name ?? '', [
      {
        reason: 'FieldValueInvalid',
        message: `Invalid value: ${error.message}`,
        ...(error.field === undefined ? {} : { field: error.field }),
      },
    ]);
  }
}

/** 409 in the words from which kubectl makes its advice. Source: apimachinery's util/managedfields/internal/conflict.go. */
function applyConflict(conflicts: readonly FieldConflict[]): ApiError {
  const describe = (one: FieldConflict): string => {
    const part = one.subresource === undefined ? '' : ` with subresource "${one.subresource}"`;
    return `"${one.manager}"${part}${one.operation === 'Update' ? ` using ${one.apiVersion}` : ''}`;
  };
  const byManager = new Map<string, string[]>();
  for (const one of conflicts) {
    const who = describe(one);
    byManager.set(who, [...(byManager.get(who) ?? []), one.path]);
  }
  const all = [...byManager]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([who, paths]) => `conflicts with ${who}:\n- ${paths.join('\n- ')}`);
  const [only] = conflicts;
  const text =
    conflicts.length === 1 && only !== undefined
      ? `1 conflict: conflict with ${describe(only)}: ${only.path}`
      : `${conflicts.length} conflicts: ${all.join('\n')}`;
  return new ApiError(409, 'Conflict', `Apply failed with ${text}`, {
    causes: conflicts.map((one) => ({
      reason: 'FieldManagerConflict',
      message: `conflict with ${describe(one)}`,
      field: one.path,
    })),
  });
}
