import type { ContentRef, FoundContent } from '../../api/v1alpha1/content.ts';
import type { KubeClient } from '../../kube/client.ts';
import { isRefused } from '../../kube/errors.ts';
import { Informer, type InformerOptions } from '../../kube/informer.ts';
import { configMaps, secrets, type ConfigMap, type Secret } from '../../kube/resources.ts';
import type { Task } from '../../runtime/supervise.ts';

/** One ConfigMap or Secret that somebody names, and its watch. */
interface Watched {
  readonly namespace: string;
  readonly ref: ContentRef;
  readonly informer: Informer<ConfigMap> | Informer<Secret>;
  /** Keys of who names it. */
  readonly users: Set<string>;
  readonly stop: AbortController;
  started: boolean;
  found: FoundContent | undefined;
}

/** What hears of changes: the users of the content that changed. */
export type ContentListener = (users: readonly string[]) => void;

/**
 * Follows the ConfigMaps and Secrets that Services name, each by a watch of its own for that one name, as kubelets do: the
 * operator reads nothing that no Service names, and its rights can be narrowed to the names in use
 * (`resourceNames` covers list and watch with a selector for metadata.name). What nobody names any more is forgotten.
 */
export class ContentFeed {
  readonly #client: KubeClient;
  readonly #options: Pick<InformerOptions<never>, 'log' | 'clock' | 'observer'>;
  readonly #onChange: ContentListener;
  readonly #watched = new Map<string, Watched>();
  readonly #named = new Map<string, ReadonlySet<string>>();
  #signal: AbortSignal | undefined;

  constructor(
    client: KubeClient,
    options: Pick<InformerOptions<never>, 'log' | 'clock' | 'observer'>,
    onChange: ContentListener,
  ) {
    this.#client = client;
    this.#options = options;
    this.#onChange = onChange;
  }

  /** Says what `user` names from now on; an empty list: nothing any more. */
  name(user: string, namespace: string, refs: readonly ContentRef[]): void {
    const before = this.#named.get(user) ?? new Set<string>();
    const after = new Set(refs.map((ref) => keyOf(namespace, ref)));
    for (const key of before) if (!after.has(key)) this.#leave(key, user);
    for (const ref of refs) this.#join(namespace, ref, user);
    if (after.size === 0) this.#named.delete(user);
    else this.#named.set(user, after);
  }

  /** What is known of an object that was named. */
  lookup(namespace: string, ref: ContentRef): FoundContent {
    const watched = this.#watched.get(keyOf(namespace, ref));
    if (watched === undefined) return { type: 'unknown', why: 'not read yet' };
    const { informer } = watched;
    const object = informer.store.get({ namespace, name: ref.name });
    if (object !== undefined) return (watched.found ??= contentOf(ref.kind, object));
    if (informer.problem !== undefined && isRefused(informer.problem)) {
      return { type: 'unknown', why: `may not be read: ${informer.problem.message}` };
    }
    return informer.hasSynced ? { type: 'missing' } : { type: 'unknown', why: 'not read yet' };
  }

  /** Runs the watches, present ones and those to come. */
  task(): Task {
    return {
      name: 'configs and secrets',
      run: async (signal) => {
        this.#signal = signal;
        for (const watched of this.#watched.values()) this.#start(watched);
        await new Promise<void>((resolve) => {
          if (signal.aborted) resolve();
          signal.addEventListener('abort', () => {
            resolve();
          });
        });
        this.#signal = undefined;
      },
    };
  }

  #join(namespace: string, ref: ContentRef, user: string): void {
    const key = keyOf(namespace, ref);
    let watched = this.#watched.get(key);
    if (watched === undefined) {
      watched = this.#watch(namespace, ref);
      this.#watched.set(key, watched);
      this.#start(watched);
    }
    watched.users.add(user);
  }

  #leave(key: string, user: string): void {
    const watched = this.#watched.get(key);
    watched?.users.delete(user);
    if (watched?.users.size !== 0) return;
    watched.stop.abort();
    this.#watched.delete(key);
  }

  #watch(namespace: string, ref: ContentRef): Watched {
    const options = {
      ...this.#options,
      namespace,
      fieldSelector: `metadata.name=${ref.name}`,
    };
    const informer =
      ref.kind === 'Secret'
        ? new Informer(this.#client, secrets, options)
        : new Informer(this.#client, configMaps, options);
    const watched: Watched = {
      namespace,
      ref,
      informer,
      users: new Set(),
      stop: new AbortController(),
      started: false,
      found: undefined,
    };
    informer.onChange(() => {
      watched.found = undefined;
      this.#onChange([...watched.users]);
    });
    return watched;
  }

  #start(watched: Watched): void {
    if (this.#signal === undefined || watched.started) return;
    watched.started = true;
    const signal = AbortSignal.any([this.#signal, watched.stop.signal]);
    void watched.informer.run(signal);
    // That there is none is news, too.
    watched.informer.waitForSync(signal).then(
      () => {
        this.#onChange([...watched.users]);
      },
      () => undefined,
    );
  }
}

function keyOf(namespace: string, ref: ContentRef): string {
  return `${ref.kind}/${namespace}/${ref.name}`;
}

/** @param kind of the watch: items of lists do not name theirs. */
export function contentOf(kind: ContentRef['kind'], object: ConfigMap | Secret): FoundContent {
  const data = new Map<string, Uint8Array>();
  if (kind === 'Secret') {
    for (const [key, value] of Object.entries((object as Secret).data ?? {})) {
      data.set(key, Buffer.from(value, 'base64'));
    }
  } else {
    const { data: texts, binaryData } = object as ConfigMap;
    for (const [key, value] of Object.entries(texts ?? {})) data.set(key, Buffer.from(value));
    for (const [key, value] of Object.entries(binaryData ?? {})) {
      data.set(key, Buffer.from(value, 'base64'));
    }
  }
  const { uid = '', annotations } = object.metadata;
  return { type: 'found', uid, data, ...(annotations === undefined ? {} : { annotations }) };
}
