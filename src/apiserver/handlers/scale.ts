import { cloneJson, isObject, type JsonObject } from '../../api/json.ts';
import type { ApiContext } from '../context.ts';
import {
  badRequest,
  conflict,
  invalid,
  notFound,
  unsupportedMediaType,
  type ErrorSubject,
} from '../errors/api-error.ts';
import { contentType, decodeJson, decodeObjectBody, readBody } from '../http/body.ts';
import type { ApiRequest, Reply, Target } from '../http/request.ts';
import { decodeMetadata, invalidValue } from '../objects/metadata.ts';
import type { KubeObject } from '../objects/object.ts';
import { getPath, setPath } from '../objects/path.ts';
import type { Resource, ScalePaths } from '../resources/resource.ts';
import { admitUpdate } from './admit.ts';
import { patchDocument } from './patch.ts';
import { readObject } from './read.ts';
import { updateStored } from './store-update.ts';
import { writeOptions } from './write-options.ts';

const scaleSubject: ErrorSubject = { group: 'autoscaling', plural: 'scales', kind: 'Scale' };

/** The autoscaling/v1 Scale of an object. */
export function scaleOf(object: KubeObject, paths: ScalePaths): JsonObject {
  const { name, namespace, uid, resourceVersion, creationTimestamp } = object.metadata;
  const number = (path: readonly string[]): number => {
    const value = getPath(object, path);
    return typeof value === 'number' ? value : 0;
  };
  const selector =
    paths.labelSelector === undefined ? undefined : getPath(object, paths.labelSelector);
  return {
    kind: 'Scale',
    apiVersion: 'autoscaling/v1',
    metadata: {
      name,
      ...(namespace === undefined ? {} : { namespace }),
      uid,
      resourceVersion,
      creationTimestamp,
    },
    spec: { replicas: number(paths.specReplicas) },
    status: {
      replicas: number(paths.statusReplicas),
      ...(typeof selector === 'string' ? { selector } : {}),
    },
  };
}

function pathsOf(resource: Resource, name: string): ScalePaths {
  if (resource.scale === undefined) throw notFound(resource, name);
  return resource.scale;
}

/** GET of `/scale`. */
export async function getScale(context: ApiContext, target: Target): Promise<Reply> {
  const paths = pathsOf(target.resource, target.name ?? '');
  const { object } = await readObject(context, target);
  return { code: 200, body: scaleOf(object, paths) };
}

/** PUT and PATCH of `/scale`. */
export async function writeScale(
  context: ApiContext,
  request: ApiRequest,
  target: Target,
): Promise<Reply> {
  const { resource, namespace, name = '' } = target;
  const paths = pathsOf(resource, name);
  const isPatch = request.method === 'PATCH';
  const options = writeOptions(request, isPatch ? 'PatchOptions' : 'UpdateOptions');
  const change = await scaleChange(request);
  const stored = await updateStored(context, {
    resource,
    namespace,
    name,
    dryRun: options.dryRun,
    change: (old) => {
      const current = scaleOf(old, paths);
      const scale = change(current);
      const { metadata } = decodeMetadata(scale['metadata']);
      checkIdentity(resource, old, metadata);
      const next = cloneJson(old);
      setPath(next, paths.specReplicas, replicasOf(scale, name));
      return admitUpdate(context, resource, old, next, options, 'scale', 'track');
    },
  });
  return { code: 200, body: scaleOf(stored.object, paths) };
}

const patchTypes = [
  'application/json-patch+json',
  'application/merge-patch+json',
  'application/strategic-merge-patch+json',
];

/** What the request makes of the Scale as it stands. */
async function scaleChange(request: ApiRequest): Promise<(current: JsonObject) => JsonObject> {
  const type = contentType(request.incoming);
  const bytes = await readBody(request.incoming);
  if (request.method === 'PATCH') {
    if (!patchTypes.includes(type)) throw unsupportedMediaType(patchTypes);
    const patch = decodeJson(bytes).value;
    return (current) => patchDocument(type, current, patch);
  }
  const { object } = decodeObjectBody(type, bytes);
  return () => object;
}

function checkIdentity(
  resource: Resource,
  old: KubeObject,
  metadata: { readonly name?: string; readonly uid?: string; readonly resourceVersion?: string },
): void {
  const name = old.metadata.name ?? '';
  if ((metadata.name ?? name) !== name) {
    throw badRequest(
      `the name of the object (${metadata.name ?? ''}) does not match the name on the URL (${name})`,
    );
  }
  const revision = metadata.resourceVersion ?? '';
  if (revision !== '' && revision !== old.metadata.resourceVersion) throw conflict(resource, name);
  if (metadata.uid !== undefined && metadata.uid !== '' && metadata.uid !== old.metadata.uid) {
    throw conflict(resource, name);
  }
}

function replicasOf(scale: JsonObject, name: string): number {
  const spec = scale['spec'] ?? {};
  const replicas = isObject(spec) ? (spec['replicas'] ?? 0) : undefined;
  if (typeof replicas !== 'number' || !Number.isInteger(replicas)) {
    throw badRequest(
      'json: cannot unmarshal into Go struct field ScaleSpec.spec.replicas of type int32',
    );
  }
  if (replicas < 0) {
    throw invalid(scaleSubject, name, [
      invalidValue('spec.replicas', replicas, 'should be a non-negative integer'),
    ]);
  }
  return replicas;
}
