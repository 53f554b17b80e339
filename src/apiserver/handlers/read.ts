import type { ApiContext } from '../context.ts';
import {
  badRequest,
  expired,
  invalid,
  notFound,
  revisionTooLarge,
  ApiError,
} from '../errors/api-error.ts';
import { negotiate } from '../http/accept.ts';
import {
  includeObject,
  presentList,
  presentOne,
  served,
  type Presentation,
} from '../http/present.ts';
import type { ApiRequest, Reply, Target } from '../http/request.ts';
import { parseSelectors, type Matcher } from '../objects/selectors.ts';
import type { KubeObject } from '../objects/object.ts';
import type { Resource } from '../resources/resource.ts';
import { collectionPrefix } from '../storage/keys.ts';
import type { StoredObject } from '../storage/stored-object.ts';
import { decodeContinue, encodeContinue } from './continue-token.ts';

/** How the answer to `request` is to look. Throws 406 and 400. */
export function presentation(context: ApiContext, request: ApiRequest): Presentation {
  return {
    ...negotiate(request.incoming.headers.accept),
    includeObject: includeObject(request.query),
    nowMs: context.clock.now(),
  };
}

/** The object of `target`, or 404. */
export async function readObject(context: ApiContext, target: Target): Promise<StoredObject> {
  const name = target.name ?? '';
  const stored = await context.objects.get(target.resource, target.namespace, name);
  if (stored === undefined) throw notFound(target.resource, name);
  return stored;
}

/** GET of one object, or of its status. */
export async function getObject(
  context: ApiContext,
  request: ApiRequest,
  target: Target,
): Promise<Reply> {
  const how = presentation(context, request);
  const stored = await readObject(context, target);
  return { code: 200, body: presentOne(target.resource, stored.object, how) };
}

/** The matcher for the selectors of a request, which look at the form that is served. */
export function requestMatcher(query: URLSearchParams, resource: Resource): Matcher {
  const matches = parseSelectors(
    query.get('labelSelector'),
    query.get('fieldSelector'),
    resource.selectable,
  );
  return (object: KubeObject) => matches(served(resource, object));
}

/** A revision as clients send it. 400 when it is not a number. */
export function parseRevision(text: string | null): bigint | undefined {
  if (text === null || text === '') return undefined;
  if (!/^\d{1,19}$/.test(text)) {
    throw badRequest(
      `resourceVersion: Invalid value: "${text}": strconv.ParseUint: parsing "${text}": invalid syntax`,
    );
  }
  return BigInt(text);
}

function parseLimit(query: URLSearchParams): number | undefined {
  const text = query.get('limit');
  if (text === null || text === '') return undefined;
  if (!/^-?\d+$/.test(text))
    throw badRequest(`strconv.ParseInt: parsing "${text}": invalid syntax`);
  const limit = Number(text);
  return limit > 0 && Number.isSafeInteger(limit) ? limit : undefined;
}

const listOptions = { group: 'meta.k8s.io', kind: 'ListOptions' };

/** How new the answer must be: `exact` reads history, `cached` takes what the cache has. */
type Freshness =
  { readonly kind: 'latest' | 'cached' } | { readonly kind: 'exact'; readonly revision: bigint };

async function freshness(context: ApiContext, query: URLSearchParams): Promise<Freshness> {
  const revision = parseRevision(query.get('resourceVersion'));
  const match = query.get('resourceVersionMatch') ?? '';
  const refuse = (message: string): never => {
    throw invalid(listOptions, '', [
      {
        reason: 'FieldValueForbidden',
        message: `Forbidden: ${message}`,
        field: 'resourceVersionMatch',
      },
    ]);
  };
  if (match !== '') {
    if (revision === undefined)
      refuse('resourceVersionMatch is forbidden unless resourceVersion is provided');
    if (match !== 'Exact' && match !== 'NotOlderThan') {
      throw invalid(listOptions, '', [
        {
          reason: 'FieldValueNotSupported',
          message: `Unsupported value: "${match}": supported values: "Exact", "NotOlderThan", ""`,
          field: 'resourceVersionMatch',
        },
      ]);
    }
    if (match === 'Exact' && revision === 0n) {
      refuse('resourceVersionMatch "exact" is forbidden for resourceVersion "0"');
    }
  }
  if (revision === undefined) return { kind: 'latest' };
  if (revision === 0n) return { kind: context.cache.filled ? 'cached' : 'latest' };
  const current = await context.objects.revision();
  if (revision > current) throw revisionTooLarge(revision, current);
  return match === 'Exact' ? { kind: 'exact', revision } : { kind: 'latest' };
}

/** GET of a collection. */
export async function listObjects(
  context: ApiContext,
  request: ApiRequest,
  target: Target,
): Promise<Reply> {
  const how = presentation(context, request);
  const { query } = request;
  const page = await listPage(context, target, query);
  const remaining =
    page.next === undefined ? undefined : remainingCount(context, target, query, page);
  return {
    code: 200,
    body: presentList(
      target.resource,
      page.items.map(({ object }) => object),
      {
        resourceVersion: page.revision.toString(),
        ...(page.next === undefined ? {} : { continue: encodeContinue(page.revision, page.next) }),
        ...(remaining === undefined ? {} : { remainingItemCount: remaining }),
      },
      how,
    ),
  };
}

interface Page {
  readonly items: readonly StoredObject[];
  readonly revision: bigint;
  readonly next: string | undefined;
}

/** All objects, or the page, that a list request asks for. */
export async function listPage(
  context: ApiContext,
  target: Target,
  query: URLSearchParams,
): Promise<Page> {
  const { resource, namespace } = target;
  const matches = requestMatcher(query, resource);
  const limit = parseLimit(query);
  const token = query.get('continue');
  if (token !== null && token !== '') {
    const start = decodeContinue(token, collectionPrefix(resource, namespace));
    if (
      parseRevision(query.get('resourceVersion')) !== undefined &&
      query.get('resourceVersion') !== '0'
    ) {
      throw badRequest('specifying resource version is not allowed when using continue');
    }
    try {
      return await collect(context, target, matches, limit, start.revision, start.after);
    } catch (error) {
      if (error instanceof ApiError && error.code === 410) throw expiredToken(start.after);
      throw error;
    }
  }
  const wanted = await freshness(context, query);
  if (wanted.kind === 'cached') {
    const revision = context.cache.revision;
    const items = [...context.cache.list(resource.storage, collectionPrefix(resource, namespace))]
      .filter(({ object }) => matches(object))
      .sort((a, b) => (a.key < b.key ? -1 : 1));
    return { items, revision, next: undefined };
  }
  return collect(
    context,
    target,
    matches,
    limit,
    wanted.kind === 'exact' ? wanted.revision : undefined,
  );
}

/** Reads until `limit` matching objects are found or there are no more; all at one revision. */
async function collect(
  context: ApiContext,
  { resource, namespace }: Target,
  matches: Matcher,
  limit: number | undefined,
  revision: bigint | undefined,
  after?: string,
): Promise<Page> {
  const items: StoredObject[] = [];
  let at = revision;
  let start = after;
  for (;;) {
    const listing = await context.objects.list(resource, namespace, {
      ...(limit === undefined ? {} : { limit: limit - items.length }),
      ...(at === undefined ? {} : { revision: at }),
      ...(start === undefined ? {} : { after: start }),
    });
    at ??= listing.revision;
    for (const item of listing.items) if (matches(item.object)) items.push(item);
    start = listing.next;
    if (start === undefined || (limit !== undefined && items.length >= limit)) {
      return { items, revision: at, next: start };
    }
  }
}

/** An estimate, as the field's description allows; never given with selectors. */
function remainingCount(
  context: ApiContext,
  { resource, namespace }: Target,
  query: URLSearchParams,
  page: Page,
): number | undefined {
  if ((query.get('labelSelector') ?? '') !== '' || (query.get('fieldSelector') ?? '') !== '')
    return undefined;
  let count = 0;
  for (const { key } of context.cache.list(
    resource.storage,
    collectionPrefix(resource, namespace),
  )) {
    if (page.next !== undefined && key > page.next) count++;
  }
  return Math.max(1, count);
}

function expiredToken(after: string): ApiError {
  return expired(
    'The provided continue parameter is too old to display a consistent list result. You can start a new list without ' +
      'the continue parameter, or use the continue token in this response to retrieve the remainder of the results. ' +
      'Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted ' +
      'between the time the first chunk was returned and now may show up in the list.',
    { continue: encodeContinue(undefined, after) },
  );
}
