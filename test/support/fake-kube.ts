import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { applyPatch, type Operation } from 'rfc6902';

interface FakeObject {
  apiVersion?: string;
  kind?: string;
  metadata: {
    name: string;
    namespace?: string;
    uid?: string;
    resourceVersion?: string;
    generation?: number;
    deletionTimestamp?: string;
    finalizers?: string[];
    [field: string]: unknown;
  };
  [field: string]: unknown;
}

interface HistoryEntry {
  readonly version: number;
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly collection: string;
  readonly object: FakeObject;
}

interface Watcher {
  readonly response: ServerResponse;
  readonly collection: string;
  readonly namespace: string | undefined;
}

/** What the fake has seen of a request. */
export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

/** Answers a request in the server's stead; `false` leaves it to the server. */
export type Fault = (request: SeenRequest, response: ServerResponse) => boolean;

/** Where a path points: "apis/nap.dev/v1alpha1/projects" and so on. */
interface Target {
  readonly collection: string;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly subresource: string | undefined;
}

const microTime = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/;

/**
 * A Kubernetes API server in the test's own process: objects of any kind in memory, with resource versions,
 * conditional writes, paged lists, watches and finalizers, and misbehaviour on command.
 */
export class FakeKube {
  readonly requests: SeenRequest[] = [];
  /** Connections accepted since the start. */
  connections = 0;
  /** How an expired watch is told: as HTTP status, or as an event in a 200 stream, as real servers do. */
  goneAs: 'status' | 'event' = 'event';
  readonly #server: Server;
  readonly #secure: boolean;
  readonly #sockets = new Set<Socket>();
  readonly #objects = new Map<string, FakeObject>();
  readonly #watchers = new Set<Watcher>();
  readonly #pages = new Map<string, { readonly items: FakeObject[]; readonly version: number }>();
  /** By object and field manager. */
  readonly #lastApplied = new Map<string, unknown>();
  #history: HistoryEntry[] = [];
  #version = 100;
  #oldest = 0;
  #uids = 0;
  #faults: { readonly fault: Fault; left: number }[] = [];
  #port = 0;

  private constructor(tls?: { readonly cert: string; readonly key: string }) {
    const listener = (request: IncomingMessage, response: ServerResponse): void => {
      void this.#handle(request, response);
    };
    this.#secure = tls !== undefined;
    this.#server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener);
    this.#server.keepAliveTimeout = 60_000;
    this.#server.on('connection', (socket: Socket) => {
      this.connections++;
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
    });
  }

  /** @param port default: a free one. */
  static async start(
    tls?: { readonly cert: string; readonly key: string },
    port = 0,
  ): Promise<FakeKube> {
    const fake = new FakeKube(tls);
    fake.#port = port;
    await fake.listen();
    return fake;
  }

  /** Listens (again, on the port it had). */
  async listen(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(this.#port, '127.0.0.1', resolve));
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  get port(): number {
    return this.#port;
  }

  /** A kubeconfig for it, or for a proxy before it. */
  kubeconfig(port = this.#port, cluster: Record<string, unknown> = {}): string {
    const server = `${this.#secure ? 'https' : 'http'}://127.0.0.1:${port}`;
    return JSON.stringify({
      clusters: [{ name: 'fake', cluster: { server, ...cluster } }],
      users: [{ name: 'me', user: { token: 'secret' } }],
      contexts: [{ name: 'it', context: { cluster: 'fake', user: 'me' } }],
      'current-context': 'it',
    });
  }

  /** The process dies: connections are reset, nothing listens. Objects survive. */
  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const socket of this.#sockets) socket.resetAndDestroy();
    this.#watchers.clear();
    await closed;
  }

  /** The next `times` requests that `fault` takes are answered by it. */
  fault(fault: Fault, times = 1): void {
    this.#faults.push({ fault, left: times });
  }

  /** Watches open now. */
  get watches(): number {
    return this.#watchers.size;
  }

  get version(): number {
    return this.#version;
  }

  requestsOf(method: string, watch = false): SeenRequest[] {
    return this.requests.filter(
      (request) => request.method === method && request.query.has('watch') === watch,
    );
  }

  /** Creates or replaces, as another client would. `path` e.g. "/api/v1/namespaces/a/configmaps/x". */
  put(path: string, object: Record<string, unknown> = {}): void {
    const target = parse(path);
    const metadata = {
      ...(object['metadata'] as object | undefined),
      name: target.name!,
      ...(target.namespace !== undefined && { namespace: target.namespace }),
    };
    this.#store(target, { ...object, metadata });
  }

  remove(path: string): void {
    this.#delete(parse(path));
  }

  read(path: string): FakeObject | undefined {
    return this.#objects.get(keyOf(parse(path)));
  }

  /** All watches get a line that says: nothing happened up to now. */
  bookmark(): void {
    for (const { response } of this.#watchers) {
      const object = { metadata: { resourceVersion: String(this.#version) } };
      response.write(`${JSON.stringify({ type: 'BOOKMARK', object })}\n`);
    }
  }

  /** All watches get these bytes. */
  writeRaw(text: string): void {
    for (const { response } of this.#watchers) response.write(text);
  }

  /** All watches end in good order, as at their timeoutSeconds. */
  endWatches(): void {
    for (const { response } of this.#watchers) response.end();
    this.#watchers.clear();
  }

  /** Forgets history: watches from before and continue tokens are too old. */
  compact(): void {
    this.#version++;
    this.#oldest = this.#version;
    this.#history = [];
    this.#pages.clear();
  }

  /** Changes that watches never hear of (as on a connection that lost them). */
  silently(change: () => void): void {
    const watchers = [...this.#watchers];
    this.#watchers.clear();
    change();
    for (const watcher of watchers) this.#watchers.add(watcher);
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://fake');
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const seen: SeenRequest = {
      method: request.method ?? 'GET',
      path: url.pathname,
      query: url.searchParams,
      headers: request.headers,
      body: Buffer.concat(chunks).toString('utf8'),
    };
    this.requests.push(seen);
    for (const scripted of this.#faults) {
      if (scripted.left > 0 && scripted.fault(seen, response)) {
        scripted.left--;
        return;
      }
    }
    if (seen.query.get('watch') === 'true') this.#watch(seen, response);
    else this.#answer(seen, response);
  }

  #answer(seen: SeenRequest, response: ServerResponse): void {
    const target = parse(seen.path);
    const present = target.name === undefined ? undefined : this.#objects.get(keyOf(target));
    const body = seen.body === '' ? undefined : (JSON.parse(seen.body) as FakeObject);
    if (seen.method === 'POST') {
      const created = { ...target, name: body!.metadata.name };
      if (this.#objects.has(keyOf(created))) {
        fail(response, 409, 'AlreadyExists');
        return;
      }
      if (!validTimes(created, body!)) {
        fail(response, 400, 'BadRequest');
        return;
      }
      json(response, 201, this.#store(created, body!));
      return;
    }
    if (target.name === undefined) {
      this.#list(seen, target, response);
      return;
    }
    if (
      seen.method === 'PATCH' &&
      seen.headers['content-type'] === 'application/apply-patch+yaml'
    ) {
      const wanted = body?.metadata.resourceVersion;
      if (wanted !== undefined && wanted !== present?.metadata.resourceVersion) {
        fail(response, 409, 'Conflict');
        return;
      }
      json(response, 200, this.#store(target, this.#applied(seen, target, present, body)));
      return;
    }
    if (present === undefined) {
      fail(response, 404, 'NotFound');
      return;
    }
    if (seen.method === 'GET') {
      json(response, 200, present);
      return;
    }
    if (seen.method === 'DELETE') {
      const { preconditions } = (body ?? {}) as { preconditions?: { uid?: string } };
      if (preconditions?.uid !== undefined && preconditions.uid !== present.metadata.uid) {
        fail(response, 409, 'Conflict');
        return;
      }
      json(response, 200, this.#requestDelete(target, present));
      return;
    }
    const next = this.#changed(seen, present, body);
    const { uid, resourceVersion } = next.metadata;
    if (uid !== present.metadata.uid && uid !== undefined) {
      fail(response, 409, 'Conflict');
      return;
    }
    if (resourceVersion !== undefined && resourceVersion !== present.metadata.resourceVersion) {
      fail(response, 409, 'Conflict');
      return;
    }
    if (!validTimes(target, next)) {
      fail(response, 400, 'BadRequest');
      return;
    }
    json(response, 200, this.#store(target, next));
  }

  /** Server-side apply, always by force: what the manager applied before and leaves out now goes. */
  #applied(
    seen: SeenRequest,
    target: Target,
    present: FakeObject | undefined,
    body: unknown,
  ): FakeObject {
    const key = `${keyOf(target)}|${seen.query.get('fieldManager') ?? ''}`;
    const left = without(present ?? {}, this.#lastApplied.get(key), body);
    this.#lastApplied.set(key, body);
    return merge(left, body) as FakeObject;
  }

  #changed(seen: SeenRequest, present: FakeObject, body: unknown): FakeObject {
    if (seen.method === 'PUT') return body as FakeObject;
    if (seen.headers['content-type'] === 'application/merge-patch+json') {
      return merge(present, body) as FakeObject;
    }
    const next = structuredClone(present);
    applyPatch(next, body as Operation[]);
    return next;
  }

  #list(seen: SeenRequest, target: Target, response: ServerResponse): void {
    const token = seen.query.get('continue');
    const [id, offsetText] = token?.split(':') ?? [String(this.#pages.size + this.#version), '0'];
    const offset = Number(offsetText);
    if (token === null) {
      const items = [...this.#objects.entries()]
        .filter(([key]) => key.startsWith(`${target.collection}|${target.namespace ?? ''}`))
        .map(([, object]) => object);
      this.#pages.set(id!, { items, version: this.#version });
    }
    const page = this.#pages.get(id!);
    if (page === undefined) {
      fail(response, 410, 'Expired');
      return;
    }
    const limit = Number(seen.query.get('limit') ?? Infinity);
    const items = page.items.slice(offset, offset + limit);
    const more = offset + items.length < page.items.length;
    json(response, 200, {
      kind: 'List',
      items,
      metadata: {
        resourceVersion: String(page.version),
        ...(more && { continue: `${id!}:${offset + items.length}` }),
      },
    });
  }

  #watch(seen: SeenRequest, response: ServerResponse): void {
    const target = parse(seen.path);
    const from = Number(seen.query.get('resourceVersion'));
    if (from < this.#oldest) {
      if (this.goneAs === 'status') {
        fail(response, 410, 'Expired');
        return;
      }
      const object = { kind: 'Status', status: 'Failure', reason: 'Expired', code: 410 };
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(`${JSON.stringify({ type: 'ERROR', object })}\n`);
      return;
    }
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    const watcher = { response, collection: target.collection, namespace: target.namespace };
    for (const entry of this.#history) if (entry.version > from) send(watcher, entry);
    this.#watchers.add(watcher);
    const seconds = Number(seen.query.get('timeoutSeconds') ?? 3600);
    const timer = setTimeout(() => {
      response.end();
    }, seconds * 1000);
    response.on('close', () => {
      clearTimeout(timer);
      this.#watchers.delete(watcher);
    });
  }

  #store(target: Target, object: FakeObject): FakeObject {
    const key = keyOf(target);
    const present = this.#objects.get(key);
    const version = ++this.#version;
    const stored: FakeObject = {
      ...object,
      metadata: {
        ...object.metadata,
        uid: present?.metadata.uid ?? `uid-${++this.#uids}`,
        generation: generationOf(present, object),
        resourceVersion: String(version),
      },
    };
    if (
      stored.metadata.deletionTimestamp !== undefined &&
      (stored.metadata.finalizers?.length ?? 0) === 0
    ) {
      this.#objects.set(key, stored);
      this.#delete(target);
      return stored;
    }
    this.#objects.set(key, stored);
    this.#publish({
      version,
      type: present === undefined ? 'ADDED' : 'MODIFIED',
      collection: target.collection,
      object: stored,
    });
    return stored;
  }

  #requestDelete(target: Target, present: FakeObject): unknown {
    if ((present.metadata.finalizers?.length ?? 0) > 0) {
      const metadata = { ...present.metadata, deletionTimestamp: '2026-01-01T00:00:00Z' };
      return this.#store(target, { ...present, metadata });
    }
    this.#delete(target);
    return { kind: 'Status', status: 'Success' };
  }

  #delete(target: Target): void {
    const key = keyOf(target);
    const object = this.#objects.get(key);
    if (object === undefined) return;
    this.#objects.delete(key);
    const version = ++this.#version;
    const metadata = { ...object.metadata, resourceVersion: String(version) };
    const last = { ...object, metadata };
    this.#publish({ version, type: 'DELETED', collection: target.collection, object: last });
  }

  #publish(entry: HistoryEntry): void {
    this.#history.push(entry);
    for (const watcher of this.#watchers) send(watcher, entry);
  }
}

/** A Status answer. */
export function fail(
  response: ServerResponse,
  code: number,
  reason: string,
  headers: Record<string, string> = {},
): void {
  const status = { kind: 'Status', status: 'Failure', code, reason, message: `made up: ${reason}` };
  response.writeHead(code, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify(status));
}

function json(response: ServerResponse, code: number, body: unknown): void {
  response.writeHead(code, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}

function send(watcher: Watcher, entry: HistoryEntry): void {
  if (entry.collection !== watcher.collection) return;
  if (watcher.namespace !== undefined && watcher.namespace !== entry.object.metadata.namespace) {
    return;
  }
  watcher.response.write(`${JSON.stringify({ type: entry.type, object: entry.object })}\n`);
}

function parse(path: string): Target {
  const parts = path.split('/').filter((part) => part !== '');
  const root = parts.splice(0, parts[0] === 'api' ? 2 : 3).join('/');
  const namespaced = parts[0] === 'namespaces' && parts.length > 2;
  const namespace = namespaced ? parts.splice(0, 2)[1] : undefined;
  return {
    collection: `${root}/${parts[0]}`,
    namespace,
    name: parts[1],
    subresource: parts[2],
  };
}

function keyOf(target: Target): string {
  return `${target.collection}|${target.namespace ?? ''}|${target.name}`;
}

/** Real servers refuse Lease times without six fractional digits. */
function validTimes(target: Target, object: FakeObject): boolean {
  if (!target.collection.endsWith('/leases')) return true;
  const { renewTime, acquireTime } = object['spec'] as Record<string, string>;
  return [renewTime, acquireTime].every((time) => time === undefined || microTime.test(time));
}

/** Goes up with each change outside metadata and status, and when deletion begins. */
function generationOf(before: FakeObject | undefined, after: FakeObject): number {
  if (before === undefined) return 1;
  const part = (object: FakeObject): string =>
    JSON.stringify({
      ...object,
      status: null,
      metadata: object.metadata.deletionTimestamp !== undefined,
    });
  return (before.metadata.generation ?? 1) + (part(before) === part(after) ? 0 : 1);
}

/** `object` without the properties that stand in `before` and not in `after`. */
function without(object: unknown, before: unknown, after: unknown): unknown {
  if (!isRecord(object) || !isRecord(before)) return object;
  const result: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(object)) {
    if (!(key in before)) result[key] = value;
    else if (isRecord(after) && key in after) {
      result[key] = without(value, before[key], after[key]);
    }
  }
  return result;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** RFC 7386. */
function merge(target: unknown, patch: unknown): unknown {
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) return patch;
  const result: Record<string, unknown> =
    typeof target === 'object' && target !== null ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) Reflect.deleteProperty(result, key);
    else result[key] = merge(result[key], value);
  }
  return result;
}
