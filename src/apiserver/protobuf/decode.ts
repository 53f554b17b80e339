import type { JsonObject } from '../schema/types.ts';

export const protobufMediaType = 'application/vnd.kubernetes.protobuf';

/** A protobuf request body that cannot be used; `code` is the HTTP status to answer with. */
export class ProtobufBodyError extends Error {
  override readonly name = 'ProtobufBodyError';
  readonly retryable = false;
  /** 400 malformed, 413 too large, 415 a type that this server does not decode. */
  readonly code: 400 | 413 | 415;

  constructor(code: 400 | 413 | 415, message: string) {
    super(message);
    this.code = code;
  }
}

/** A decoded body; `object` is the JSON form, apiVersion and kind included. */
export interface ProtobufBody {
  readonly apiVersion: string;
  readonly kind: string;
  readonly object: JsonObject;
}

/**
 * Decodes a body of type application/vnd.kubernetes.protobuf, as kubectl 1.32 and later send for typed
 * objects.
 *
 * @throws ProtobufBodyError for anything that is not a well-formed message of a known type.
 */
export function decodeProtobufBody(_bytes: Uint8Array): ProtobufBody {
  throw new ProtobufBodyError(415, 'no type is known yet');
}
