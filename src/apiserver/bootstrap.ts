import { cloneJson, isObject, type JsonObject } from '../api/json.ts';
import { sleep } from '../runtime/clock.ts';
import type { ApiContext } from './context.ts';
import { ApiError } from './errors/api-error.ts';
import { insert } from './handlers/create.ts';
import { isNoOp } from './handlers/admit.ts';
import type { WriteOptions } from './handlers/write-options.ts';
import { kubeTime, type KubeObject } from './objects/object.ts';
import type { Resource } from './resources/resource.ts';

const options: WriteOptions = {
  dryRun: false,
  fieldValidation: 'Ignore',
  manager: 'nap-apiserver',
  force: false,
};

/** Those of every cluster, and that of the operator's Lease: the operator may not make it. */
const namespaces = ['nap-system', 'default', 'kube-system', 'kube-public', 'kube-node-lease'];

/**
 * Makes what every cluster has: the standard namespaces and the CustomResourceDefinitions served. Waits for the
 * store as long as it takes.
 */
export async function bootstrap(
  context: ApiContext,
  crds: readonly JsonObject[],
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    try {
      for (const name of namespaces) await ensureNamespace(context, name);
      for (const crd of crds) await ensureCrd(context, crd);
      return;
    } catch (error) {
      if (!(error instanceof ApiError) || !error.retryable) throw error;
      context.log.warn({ err: error }, 'the store is not ready; trying again');
      await sleep(context.clock, 500, signal);
    }
  }
}

function resourceOf(context: ApiContext, gv: string, plural: string): Resource {
  const resource = context.resources.find(gv, plural);
  if (resource === undefined) throw new Error(`${plural} are not served`);
  return resource;
}

async function ensureNamespace(context: ApiContext, name: string): Promise<void> {
  const resource = resourceOf(context, 'v1', 'namespaces');
  if ((await context.objects.get(resource, undefined, name)) !== undefined) return;
  const namespace: KubeObject = { apiVersion: 'v1', kind: 'Namespace', metadata: { name } };
  await insertUnlessThere(context, resource, namespace);
}

async function insertUnlessThere(
  context: ApiContext,
  resource: Resource,
  object: KubeObject,
): Promise<void> {
  try {
    await insert(context, resource, object, options, 'track');
  } catch (error) {
    // Another server, started at the same time, was faster.
    if (!(error instanceof ApiError) || error.reason !== 'AlreadyExists') throw error;
  }
}

/** Stores a CRD, or its new text, with the conditions that say that it is served. */
async function ensureCrd(context: ApiContext, crd: JsonObject): Promise<void> {
  const resource = resourceOf(context, 'apiextensions.k8s.io/v1', 'customresourcedefinitions');
  const wanted = crd as unknown as KubeObject;
  const name = wanted.metadata.name ?? '';
  const stored = await context.objects.get(resource, undefined, name);
  const created = stored?.object.metadata.creationTimestamp ?? kubeTime(context.clock.now());
  const spec = isObject(crd['spec']) ? crd['spec'] : {};
  const versions = Array.isArray(spec['versions'])
    ? (spec['versions'] as unknown[]).filter(isObject)
    : [];
  const next: KubeObject = {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: {
      ...cloneJson(wanted.metadata),
      uid: stored?.object.metadata.uid ?? context.uuid(),
      creationTimestamp: created,
      generation: 1,
    },
    spec: cloneJson(spec),
    status: {
      conditions: [
        {
          type: 'NamesAccepted',
          status: 'True',
          lastTransitionTime: created,
          reason: 'NoConflicts',
          message: 'no conflicts found',
        },
        {
          type: 'Established',
          status: 'True',
          lastTransitionTime: created,
          reason: 'InitialNamesAccepted',
          message: 'the initial names have been accepted',
        },
      ],
      acceptedNames: cloneJson(spec['names'] ?? {}),
      storedVersions: versions
        .filter((version) => version['storage'] === true)
        .map((version) => version['name']),
    },
  };
  if (stored === undefined) {
    await context.objects.create(resource, next);
    return;
  }
  if (!isNoOp(stored.object, next)) await context.objects.update(stored, next);
}
