import type { IncomingMessage, ServerResponse } from 'node:http';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { stringify } from 'yaml';
import type { ApiError } from '../errors/api-error.ts';
import type { Reply } from './request.ts';

const compress = promisify(gzip);
/** Smaller answers are not worth compressing; the real server's threshold. */
const compressFromBytes = 128 * 1024;

/** Writes an answer as JSON, or as YAML when the client prefers it. */
export async function respond(
  request: IncomingMessage,
  response: ServerResponse,
  reply: Reply,
  encoding: 'json' | 'yaml' = 'json',
): Promise<void> {
  if (response.headersSent || response.destroyed) return;
  const headers: Record<string, string> = {
    'cache-control': 'no-cache, private',
    'content-type': encoding === 'yaml' ? 'application/yaml' : 'application/json',
    ...reply.headers,
  };
  let body = bytesOf(reply.body, encoding);
  if (
    body.length >= compressFromBytes &&
    /\bgzip\b/.test(request.headers['accept-encoding']?.toString() ?? '')
  ) {
    body = await compress(body, { level: 1 });
    headers['content-encoding'] = 'gzip';
    headers['vary'] = 'Accept-Encoding';
  }
  if (reply.code !== 304) headers['content-length'] = String(body.length);
  response.writeHead(reply.code, headers);
  response.end(reply.code === 304 ? undefined : body);
}

function bytesOf(body: unknown, encoding: 'json' | 'yaml'): Buffer {
  if (Buffer.isBuffer(body)) return body;
  if (body instanceof Uint8Array) return Buffer.from(body);
  if (typeof body === 'string') return Buffer.from(body);
  if (body === undefined) return Buffer.alloc(0);
  return Buffer.from(encoding === 'yaml' ? stringify(body) : `${JSON.stringify(body)}\n`);
}

/** Headers that go with an error: how long to wait before trying again. */
export function errorHeaders(error: ApiError): Record<string, string> {
  const seconds = error.details?.retryAfterSeconds;
  return {
    ...(seconds === undefined ? {} : { 'retry-after': String(seconds) }),
    // The rest of a body that is too large is not read: the connection cannot be used again.
    ...(error.code === 413 ? { connection: 'close' } : {}),
    ...(error.code === 401 ? { 'www-authenticate': 'Bearer realm="kubernetes"' } : {}),
  };
}

/** A `Warning` header value. Source: RFC 7234 5.5, as apimachinery's util/net writes it. */
export function warningHeader(text: string): string {
  const clean = text.replace(/\p{C}/gu, ' ').replace(/[\\"]/g, '\\$&').slice(0, 1024);
  return `299 - "${Buffer.from(clean).toString('latin1')}"`;
}
