import type { ApiContext } from '../context.ts';
import { badRequest } from '../errors/api-error.ts';
import { contentType, decodeObjectBody, readBody } from '../http/body.ts';
import { presentOne } from '../http/present.ts';
import type { ApiRequest, Reply, Target } from '../http/request.ts';
import type { KubeObject } from '../objects/object.ts';
import { admitUpdate, checkReplacePreconditions, decodeObject, decodingProblems } from './admit.ts';
import { placeInNamespace, reportProblems } from './create.ts';
import { presentation } from './read.ts';
import { updateStored } from './store-update.ts';
import { writeOptions } from './write-options.ts';

/** PUT of an object or of its status. */
export async function replaceObject(
  context: ApiContext,
  request: ApiRequest,
  target: Target,
): Promise<Reply> {
  const { resource, namespace, name = '' } = target;
  const options = writeOptions(request, 'UpdateOptions');
  const how = presentation(context, request);
  const body = decodeObjectBody(contentType(request.incoming), await readBody(request.incoming));
  const { object, unknown } = decodeObject(resource, body.object);
  reportProblems(request, options, decodingProblems(unknown, body.duplicates));
  checkName(object, name);
  placeInNamespace(object, target);
  const part = target.subresource === 'status' ? 'status' : '';
  const stored = await updateStored(context, {
    resource,
    namespace,
    name,
    dryRun: options.dryRun,
    expected: object,
    change: (old) => {
      checkReplacePreconditions(resource, old, object);
      return admitUpdate(context, resource, old, object, options, part, 'track');
    },
  });
  return { code: 200, body: presentOne(resource, stored.object, how) };
}

/** A body that names another object than the URL is refused; none at all takes the URL's. */
export function checkName(object: KubeObject, name: string): void {
  const { metadata } = object;
  if (metadata.name !== undefined && metadata.name !== '' && metadata.name !== name) {
    throw badRequest(
      `the name of the object (${metadata.name}) does not match the name on the URL (${name})`,
    );
  }
  metadata.name = name;
}
