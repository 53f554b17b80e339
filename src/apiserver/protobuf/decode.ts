import protobuf from 'protobufjs/light.js';
import type { JsonObject } from '../../api/json.ts';
import { messageOf, messages } from './messages.ts';
import type { MessageDescriptor } from './messages.ts';

export const protobufMediaType = 'application/vnd.kubernetes.protobuf';

/** As the Kubernetes API server: no request body is larger. */
const maxBodyBytes = 3 * 1024 * 1024;
/** "k8s" and a zero byte open every message. */
const magic = [0x6b, 0x38, 0x73, 0x00];

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

const root = protobuf.Root.fromJSON({
  nested: Object.fromEntries(
    Object.entries(messages).map(([name, fields]) => [
      name,
      // proto2: a zero that was sent is not the same as nothing.
      { edition: 'proto2', fields: toFields(fields) },
    ]),
  ),
});

function toFields(fields: MessageDescriptor): Record<string, protobuf.IField> {
  const out: Record<string, protobuf.IField> = {};
  for (const [name, { id, type, rule }] of Object.entries(fields)) {
    if (rule === 'map') out[name] = { id, type, keyType: 'string' } as protobuf.IMapField;
    else out[name] = rule === 'repeated' ? { id, type, rule } : { id, type };
  }
  return out;
}

/**
 * Decodes a body of type application/vnd.kubernetes.protobuf, as kubectl 1.32 and later send for typed
 * objects.
 *
 * @throws ProtobufBodyError for anything that is not a well-formed message of a known type.
 */
export function decodeProtobufBody(bytes: Uint8Array): ProtobufBody {
  if (bytes.length > maxBodyBytes) {
    throw new ProtobufBodyError(413, `the request body is larger than ${maxBodyBytes} bytes`);
  }
  if (!magic.every((byte, i) => bytes[i] === byte)) {
    throw new ProtobufBodyError(400, 'provided data does not appear to be a protobuf message');
  }
  const unknown = decode('Unknown', bytes.subarray(magic.length));
  const { apiVersion = '', kind = '' } = (unknown['typeMeta'] ?? {}) as Record<string, string>;
  if (unknown['contentEncoding']) {
    throw new ProtobufBodyError(415, 'encoded protobuf objects are not supported');
  }
  if (unknown['contentType'] !== undefined && unknown['contentType'] !== '') {
    throw new ProtobufBodyError(415, 'the object in the protobuf message is not protobuf');
  }
  const message = messageOf(apiVersion, kind);
  if (message === undefined) {
    throw new ProtobufBodyError(
      415,
      `objects of ${JSON.stringify(apiVersion)}, kind ${JSON.stringify(kind)}, are not accepted as protobuf: send JSON`,
    );
  }
  const raw = unknown['raw'];
  const content = raw instanceof Uint8Array ? decode(message, raw) : {};
  return { apiVersion, kind, object: { apiVersion, kind, ...toJson(content, message) } };
}

function decode(message: string, bytes: Uint8Array): Record<string, unknown> {
  try {
    const decoded: object = root.lookupType(message).decode(bytes);
    return decoded as Record<string, unknown>;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new ProtobufBodyError(400, `the protobuf message is malformed (${message}): ${why}`);
  }
}

/** The JSON form of a decoded message: what Go would leave out as empty is left out. */
function toJson(message: Record<string, unknown>, name: string): JsonObject {
  const out: JsonObject = {};
  for (const [field, { type, rule, pointer }] of Object.entries(messages[name] ?? {})) {
    // Fields that were not sent are on the prototype only.
    if (!Object.hasOwn(message, field)) continue;
    const value = message[field];
    if (rule === 'repeated') {
      const list = (value as unknown[]).map((item) => toJsonValue(item, type));
      if (list.length > 0) out[field] = list;
    } else if (rule === 'map') {
      const entries = Object.entries(value as object).filter(([key]) => key !== '__proto__');
      if (entries.length > 0) {
        out[field] = Object.fromEntries(entries.map(([k, v]) => [k, toJsonValue(v, type)]));
      }
    } else {
      const json = toJsonValue(value, type);
      const empty = json === '' || json === 0 || json === false;
      if (json !== undefined && (pointer === true || !empty)) out[field] = json;
    }
  }
  return out;
}

function toJsonValue(value: unknown, type: string): unknown {
  switch (type) {
    case 'bytes':
      return Buffer.from(value as Uint8Array).toString('base64');
    case 'int64':
      return Number(value);
    case 'Time':
    case 'MicroTime':
      return toTime(value as Record<string, unknown>, type);
    case 'FieldsV1':
      return toFieldsV1(value as Record<string, unknown>);
    case 'ExtraValue':
      return (value as { items?: unknown[] }).items ?? [];
    default:
      return Object.hasOwn(messages, type) ? toJson(value as Record<string, unknown>, type) : value;
  }
}

/** RFC 3339; the empty message is the zero time, which is absence. */
function toTime(value: Record<string, unknown>, type: string): string | undefined {
  const seconds = Number(value['seconds'] ?? 0);
  const nanos = Number(value['nanos'] ?? 0);
  if (seconds === 0 && nanos === 0) return undefined;
  const date = new Date(seconds * 1000);
  if (Number.isNaN(date.getTime()) || nanos < 0 || nanos >= 1e9) {
    throw new ProtobufBodyError(400, 'the protobuf message has a time out of range');
  }
  const text = date.toISOString().replace(/\.\d+Z$/, '');
  if (type === 'Time') return `${text}Z`;
  return `${text}.${String(Math.floor(nanos / 1000)).padStart(6, '0')}Z`;
}

function toFieldsV1(value: Record<string, unknown>): unknown {
  const raw = value['Raw'];
  if (!(raw instanceof Uint8Array)) return undefined;
  try {
    return JSON.parse(Buffer.from(raw).toString()) as unknown;
  } catch {
    throw new ProtobufBodyError(400, 'the protobuf message has managedFields that are not JSON');
  }
}
