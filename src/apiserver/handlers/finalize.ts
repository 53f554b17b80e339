import { cloneJson, isObject } from '../../api/json.ts';
import type { ApiContext } from '../context.ts';
import { contentType, decodeObjectBody, readBody } from '../http/body.ts';
import type { ApiRequest, Reply, Target } from '../http/request.ts';
import { decodeObject } from './admit.ts';
import { updateStored } from './store-update.ts';
import { checkName } from './update.ts';

/** PUT of a namespace's `/finalize`: sets spec.finalizers; without any left, a deleted namespace goes. */
export async function finalizeNamespace(
  context: ApiContext,
  request: ApiRequest,
  target: Target,
): Promise<Reply> {
  const { resource, name = '' } = target;
  const body = decodeObjectBody(contentType(request.incoming), await readBody(request.incoming));
  const { object } = decodeObject(resource, body.object);
  checkName(object, name);
  const spec = isObject(object['spec']) ? object['spec'] : {};
  const stored = await updateStored(context, {
    resource,
    namespace: undefined,
    name,
    dryRun: false,
    change: (old) => {
      const next = cloneJson(old);
      next['spec'] = Array.isArray(spec['finalizers']) ? { finalizers: spec['finalizers'] } : {};
      return next;
    },
  });
  return { code: 200, body: stored.object };
}
