import type { IncomingMessage } from 'node:http';
import { parseDocument } from 'yaml';
import { isObject, type JsonObject } from '../../api/json.ts';
import type { ApiError } from '../errors/api-error.ts';
import { badRequest, tooLarge, unsupportedMediaType } from '../errors/api-error.ts';
import { decodeProtobufBody, ProtobufBodyError, protobufMediaType } from '../protobuf/decode.ts';
import { JsonTextError, parseJsonText } from './json-text.ts';

/** Largest request body, as in the real server (3 MiB). */
export const maxBodyBytes = 3 * 1024 * 1024;

const acceptedTypes = ['application/json', 'application/yaml', protobufMediaType];

/** Reads the whole body. 413 as soon as it is clear that it is larger than `maxBodyBytes`. */
export async function readBody(request: IncomingMessage): Promise<Buffer> {
  const declared = Number(request.headers['content-length'] ?? 0);
  if (declared > maxBodyBytes) throw tooLarge(maxBodyBytes);
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxBodyBytes) throw tooLarge(maxBodyBytes);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Media type of the body without parameters; JSON when the client does not say (kubectl scale does not). */
export function contentType(request: IncomingMessage): string {
  const header = request.headers['content-type'] ?? '';
  const type = (header.split(';')[0] ?? '').trim().toLowerCase();
  return type === '' ? 'application/json' : type;
}

export interface DecodedBody {
  readonly value: unknown;
  /** Paths of members that occur twice. */
  readonly duplicates: readonly string[];
}

/** Decodes JSON text from bytes. 400 when it is not UTF-8, not JSON, or too deep. */
export function decodeJson(bytes: Buffer): DecodedBody {
  try {
    return parseJsonText(utf8(bytes));
  } catch (error) {
    if (error instanceof JsonTextError)
      throw badRequest(`couldn't get version/kind; json parse error: ${error.message}`);
    throw error;
  }
}

/** Decodes YAML (of which JSON is a part). Aliases are limited against "billion laughs". */
export function decodeYaml(bytes: Buffer): DecodedBody {
  const text = utf8(bytes);
  if (/^\s*[{[]/.test(text)) {
    try {
      return parseJsonText(text);
    } catch {
      // A flow mapping that is not JSON: YAML decides.
    }
  }
  const document = parseDocument(text, {
    uniqueKeys: false,
    version: '1.1',
    maxAliasCount: 100,
  } as never);
  const [problem] = document.errors;
  if (problem !== undefined) throw badRequest(`error converting YAML to JSON: ${problem.message}`);
  try {
    const json = JSON.stringify(document.toJS({ maxAliasCount: 100 }));
    return parseJsonText(json);
  } catch (error) {
    throw badRequest(
      `error converting YAML to JSON: ${error instanceof Error ? error.message : 'malformed'}`,
    );
  }
}

/** Decodes the body of a create or update into an object. 415 for a media type that is not known. */
export function decodeObjectBody(
  type: string,
  bytes: Buffer,
): { readonly object: JsonObject; readonly duplicates: readonly string[] } {
  if (type === protobufMediaType) {
    try {
      const { apiVersion, kind, object } = decodeProtobufBody(bytes);
      return { object: { ...object, apiVersion, kind }, duplicates: [] };
    } catch (error) {
      if (error instanceof ProtobufBodyError) throw protobufRefusal(error);
      throw error;
    }
  }
  const decoded =
    type === 'application/json' || type === 'text/json'
      ? decodeJson(bytes)
      : type === 'application/yaml' || type === 'application/x-yaml'
        ? decodeYaml(bytes)
        : undefined;
  if (decoded === undefined) throw unsupportedMediaType(acceptedTypes);
  if (!isObject(decoded.value)) {
    throw badRequest("couldn't get version/kind; json parse error: the body is not an object");
  }
  return { object: decoded.value, duplicates: decoded.duplicates };
}

function protobufRefusal(error: ProtobufBodyError): ApiError {
  if (error.code === 415) return unsupportedMediaType(acceptedTypes);
  return error.code === 413 ? tooLarge(maxBodyBytes) : badRequest(error.message);
}

function utf8(bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw badRequest('the body of the request is not valid UTF-8');
  }
}
