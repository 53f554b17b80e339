import { createHash } from 'node:crypto';
import { notAcceptable } from '../errors/api-error.ts';
import { parseMediaTypes } from '../http/accept.ts';
import type { ApiRequest, Handled, Reply } from '../http/request.ts';
import type { ApiKind } from '../openapi/api-kind.ts';
import { openapiV2Document, openapiV2Protobuf, openapiV2ProtobufMediaType } from '../openapi/v2.ts';
import { openapiV3Document, openapiV3Index } from '../openapi/v3.ts';
import { groupVersion, type ResourceRegistry } from '../resources/resource.ts';

/** `/openapi/v2` and `/openapi/v3`. The documents never change while the server runs: each is made once. */
export class OpenApi {
  readonly #kinds: readonly ApiKind[];
  readonly #made = new Map<string, Buffer>();

  constructor(resources: ResourceRegistry) {
    this.#kinds = resources.all.map((resource) => ({
      group: resource.group,
      version: resource.version,
      kind: resource.kind,
      plural: resource.plural,
      namespaced: resource.namespaced,
      schema: resource.schema,
      subresources: [
        ...(resource.status ? ['status'] : []),
        ...(resource.scale === undefined ? [] : ['scale']),
      ],
    }));
  }

  /** GET /openapi/…; undefined for what does not exist. */
  answer(request: ApiRequest, path: readonly string[]): Handled | undefined {
    const [version, ...rest] = path;
    if (version === 'v2' && rest.length === 0) return this.#v2(request);
    if (version !== 'v3') return undefined;
    if (rest.length === 0) return this.#index(request);
    const gv = rest.slice(1).join('/');
    const root = rest[0];
    const known = this.#kinds.some(
      (kind) => groupVersion(kind) === gv && root === (kind.group === '' ? 'api' : 'apis'),
    );
    if (!known) return undefined;
    const body = this.#once(`v3 ${gv}`, () => json(openapiV3Document(this.#kinds, gv)));
    const hashed = request.query.get('hash') !== null;
    return conditional(request, body, {
      'content-type': 'application/json',
      ...(hashed
        ? { 'cache-control': 'public, immutable', expires: 'Fri, 31 Dec 2038 23:59:59 GMT' }
        : {}),
    });
  }

  #index(request: ApiRequest): Reply {
    const body = this.#once('v3', () => json(openapiV3Index(this.#kinds)));
    return conditional(request, body, { 'content-type': 'application/json' });
  }

  #v2(request: ApiRequest): Reply {
    for (const { type } of parseMediaTypes(request.incoming.headers.accept ?? '*/*')) {
      if (type.startsWith('application/com.github.proto-openapi.spec.v2')) {
        const body = this.#once('v2 protobuf', () => Buffer.from(openapiV2Protobuf(this.#kinds)));
        return conditional(request, body, { 'content-type': openapiV2ProtobufMediaType });
      }
      if (type === 'application/json' || type === '*/*' || type === 'application/*') {
        const body = this.#once('v2', () => json(openapiV2Document(this.#kinds)));
        return conditional(request, body, { 'content-type': 'application/json' });
      }
    }
    throw notAcceptable(['application/json', openapiV2ProtobufMediaType]);
  }

  #once(name: string, make: () => Buffer): Buffer {
    let made = this.#made.get(name);
    if (made === undefined) this.#made.set(name, (made = make()));
    return made;
  }
}

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

/** The document with an ETag; 304 when the client has it. */
function conditional(request: ApiRequest, body: Buffer, headers: Record<string, string>): Reply {
  const etag = `"${createHash('sha256').update(body).digest('hex')}"`;
  const all = { etag, vary: 'Accept', ...headers };
  return request.incoming.headers['if-none-match'] === etag
    ? { code: 304, body: undefined, headers: all }
    : { code: 200, body, headers: all };
}
