import { createHash } from 'node:crypto';
import type { JsonObject } from '../schema/types.ts';
import type { ApiKind } from './api-kind.ts';

/**
 * The answer to `GET /openapi/v3`: for each group version a path (`api/v1`, `apis/nap.dev/v1alpha1`)
 * with the URL of its document; the hash in it changes with the content.
 */
export function openapiV3Index(kinds: readonly ApiKind[]): JsonObject {
  const paths: JsonObject = {};
  for (const kind of kinds) {
    const groupVersion = kind.group === '' ? kind.version : `${kind.group}/${kind.version}`;
    const path = kind.group === '' ? `api/${groupVersion}` : `apis/${groupVersion}`;
    const document = JSON.stringify(openapiV3Document(kinds, groupVersion));
    const hash = createHash('sha512').update(document).digest('hex').toUpperCase();
    paths[path] = { serverRelativeURL: `/openapi/v3/${path}?hash=${hash}` };
  }
  return { paths };
}

/** The OpenAPI 3.0 document of one group version (`v1`, `nap.dev/v1alpha1`). */
export function openapiV3Document(_kinds: readonly ApiKind[], _groupVersion: string): JsonObject {
  return { openapi: '3.0.0', info: { title: 'nap', version: 'v1' }, paths: {} };
}
