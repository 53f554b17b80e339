import type { ApiContext } from '../context.ts';
import { ApiError, badRequest, expired, invalid } from '../errors/api-error.ts';
import { presentEvent, type Presentation } from '../http/present.ts';
import type { ApiRequest, Handled, Target } from '../http/request.ts';
import type { KubeObject } from '../objects/object.ts';
import type { Matcher } from '../objects/selectors.ts';
import { groupVersion, type Resource } from '../resources/resource.ts';
import { collectionPrefix } from '../storage/keys.ts';
import { withRevision, type StoredObject } from '../storage/stored-object.ts';
import { deletedState, type ObjectEvent } from '../storage/watch-cache.ts';
import { parseRevision, presentation, requestMatcher } from './read.ts';
import { WatchStream } from './watch-stream.ts';

/** Between bookmarks. Below the 30 s after which client-node's informer gives up a silent watch. */
const bookmarkIntervalMs = 20_000;
/** A last bookmark comes this long before the end. */
const bookmarkBeforeEndMs = 2_000;
/** Watches without timeoutSeconds end after this long, or up to twice that: clients then spread over time. */
const minimumTimeoutMs = 30 * 60_000;

/** What a watch of a client asks for. */
interface WatchPlan {
  readonly resource: Resource;
  readonly prefix: string;
  readonly matches: Matcher;
  readonly how: Presentation;
  readonly bookmarks: boolean;
  readonly sendInitialEvents: boolean;
  readonly timeoutMs: number;
  readonly revision: bigint | undefined;
}

/** GET with `watch=true`: a stream of events, one JSON document a line. */
export async function watchObjects(
  context: ApiContext,
  request: ApiRequest,
  target: Target,
): Promise<Handled> {
  const plan = planWatch(context, request, target);
  const initial = await initialState(context, target, plan);
  const stream = new WatchStream(request.response, context.log);
  startStream(context, request.signal, plan, initial, stream);
  await stream.ended;
  return 'answered';
}

function planWatch(context: ApiContext, request: ApiRequest, target: Target): WatchPlan {
  const { query } = request;
  const { resource, namespace } = target;
  const revision = parseRevision(query.get('resourceVersion'));
  return {
    resource,
    prefix: collectionPrefix(resource, namespace),
    matches: requestMatcher(query, resource),
    how: presentation(context, request),
    bookmarks: isTrue(query.get('allowWatchBookmarks')),
    sendInitialEvents: checkInitialEvents(query),
    timeoutMs: timeout(context, query),
    revision,
  };
}

const isTrue = (value: string | null): boolean => value === 'true' || value === '1';

function checkInitialEvents(query: URLSearchParams): boolean {
  const send = query.get('sendInitialEvents');
  const match = query.get('resourceVersionMatch') ?? '';
  const refuse = (message: string, field: string): never => {
    throw invalid({ group: 'meta.k8s.io', kind: 'ListOptions' }, '', [
      { reason: 'FieldValueForbidden', message: `Forbidden: ${message}`, field },
    ]);
  };
  if (send === null || send === '') {
    if (match !== '') {
      refuse(
        'resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided',
        'resourceVersionMatch',
      );
    }
    return false;
  }
  if (match !== 'NotOlderThan') {
    refuse(
      'sendInitialEvents requires setting resourceVersionMatch to NotOlderThan',
      'resourceVersionMatch',
    );
  }
  return isTrue(send);
}

function timeout(context: ApiContext, query: URLSearchParams): number {
  const text = query.get('timeoutSeconds');
  if (text === null || text === '' || text === '0') {
    return minimumTimeoutMs + context.random(minimumTimeoutMs);
  }
  if (!/^\d{1,9}$/.test(text))
    throw badRequest(`strconv.ParseInt: parsing "${text}": invalid syntax`);
  return Number(text) * 1000;
}

interface InitialState {
  /** Objects to announce as ADDED first. */
  readonly items: readonly StoredObject[];
  /** Live events start after this revision. */
  readonly revision: bigint;
}

async function initialState(
  context: ApiContext,
  { resource, namespace }: Target,
  plan: WatchPlan,
): Promise<InitialState> {
  const { revision } = plan;
  if (!context.cache.filled) await context.cache.ready();
  if (revision !== undefined && revision !== 0n && !plan.sendInitialEvents)
    return { items: [], revision };
  if (revision === 0n) {
    const items = [...context.cache.list(resource.storage, plan.prefix)];
    return {
      items: items.filter(({ object }) => plan.matches(object)),
      revision: context.cache.revision,
    };
  }
  const listing = await context.objects.list(resource, namespace);
  return {
    items: listing.items.filter(({ object }) => plan.matches(object)),
    revision: listing.revision,
  };
}

function startStream(
  context: ApiContext,
  signal: AbortSignal,
  plan: WatchPlan,
  initial: InitialState,
  stream: WatchStream,
): void {
  let first = true;
  const send = (type: string, object: KubeObject): void => {
    stream.send(() => {
      const shown = presentEvent(
        plan.resource,
        object,
        { ...plan.how, nowMs: context.clock.now() },
        first,
      );
      first = false;
      return { type, object: shown };
    });
  };
  for (const { object } of initial.items) send('ADDED', object);
  if (plan.sendInitialEvents && plan.bookmarks) {
    stream.send(() => bookmark(plan.resource, initial.revision, true));
  }
  stream.live();

  let unsubscribe: () => void = () => undefined;
  const cancels: (() => void)[] = [];
  stream.onEnd(() => {
    unsubscribe();
    for (const cancel of cancels) cancel();
  });
  try {
    unsubscribe = context.cache.subscribe(plan.resource.storage, initial.revision, {
      event: (event) => {
        const change = classify(event, plan);
        if (change !== undefined) send(change.type, change.object);
      },
      end: (why) => {
        if (why === 'gap') {
          sendError(
            stream,
            expired('too old resource version: the watch on the store lost continuity'),
          );
        }
        stream.end();
      },
    });
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    sendError(stream, error);
    stream.end();
    return;
  }
  const onAbort = (): void => {
    stream.end();
  };
  if (signal.aborted) onAbort();
  else signal.addEventListener('abort', onAbort, { once: true });
  cancels.push(() => {
    signal.removeEventListener('abort', onAbort);
  });
  cancels.push(context.clock.schedule(onAbort, plan.timeoutMs));
  if (plan.bookmarks) cancels.push(scheduleBookmarks(context, plan, initial.revision, stream));
}

/** Sends a bookmark on a timer and just before the end, when the revision has moved. */
function scheduleBookmarks(
  context: ApiContext,
  plan: WatchPlan,
  from: bigint,
  stream: WatchStream,
): () => void {
  let last = from;
  let cancelNext: () => void = () => undefined;
  const mark = (): void => {
    const { revision } = context.cache;
    if (revision <= last) return;
    last = revision;
    stream.send(() => bookmark(plan.resource, revision, false));
  };
  const again = (): void => {
    cancelNext = context.clock.schedule(() => {
      mark();
      again();
    }, bookmarkIntervalMs);
  };
  again();
  const cancelLast = context.clock.schedule(
    mark,
    Math.max(plan.timeoutMs - bookmarkBeforeEndMs, plan.timeoutMs / 2),
  );
  return () => {
    cancelNext();
    cancelLast();
  };
}

function bookmark(resource: Resource, revision: bigint, initialEnd: boolean): unknown {
  const annotations = initialEnd ? { annotations: { 'k8s.io/initial-events-end': 'true' } } : {};
  return {
    type: 'BOOKMARK',
    object: {
      kind: resource.kind,
      apiVersion: groupVersion(resource),
      metadata: { resourceVersion: revision.toString(), creationTimestamp: null, ...annotations },
    },
  };
}

function sendError(stream: WatchStream, error: ApiError): void {
  stream.send(() => ({ type: 'ERROR', object: error.status() }));
}

/** What a change means for somebody who sees only what matches. */
function classify(
  event: ObjectEvent,
  plan: WatchPlan,
): { readonly type: string; readonly object: KubeObject } | undefined {
  const { current, previous } = event;
  const key = current?.key ?? previous?.key ?? '';
  if (!key.startsWith(plan.prefix)) return undefined;
  const isIn = current !== undefined && plan.matches(current.object);
  const wasIn = previous !== undefined && plan.matches(previous.object);
  if (isIn) return { type: wasIn ? 'MODIFIED' : 'ADDED', object: current.object };
  if (!wasIn) return undefined;
  const gone =
    current === undefined
      ? deletedState(event)?.object
      : withRevision(previous.object, event.revision);
  return gone === undefined ? undefined : { type: 'DELETED', object: gone };
}
