import type { KubeObject } from '../api/v1alpha1/meta.ts';
import type { KubeClient } from '../kube/client.ts';
import type { ResourceDefinition } from '../kube/resources.ts';
import { isNotFound } from '../kube/errors.ts';
import { writeStatus } from '../kube/status.ts';
import { keyOf } from '../kube/store.ts';
import type { Clock } from '../runtime/clock.ts';

/** An object with a status. */
export type WithStatus = KubeObject & { readonly status?: object };

/** Least time between two status writes of one object, milliseconds: five a second. */
const baseGapMs = 200;
/** And so much more for each instance that it lists: half a second for 60, under three for 500. */
const perInstanceGapMs = 5;

/**
 * Writes the status of the objects of one kind: only what differs, and of one object not more often than five times a
 * second (large statuses less often). Remembers what it wrote until the informer shows it, so that a status is never
 * computed from an older one of our own.
 */
export class StatusWriter<T extends WithStatus> {
  readonly #client: KubeClient;
  readonly #resource: ResourceDefinition<T>;
  readonly #clock: Clock;
  readonly #latest = new Map<string, T>();
  readonly #notBefore = new Map<string, number>();

  constructor(client: KubeClient, resource: ResourceDefinition<T>, clock: Clock) {
    this.#client = client;
    this.#resource = resource;
    this.#clock = clock;
  }

  /** The newer of the object that the informer has and the one that our last write gave back. */
  latest(cached: T): T {
    const key = keyOf(cached);
    const written = this.#latest.get(key);
    if (written === undefined) return cached;
    if (written.metadata.uid === cached.metadata.uid && isNewer(written, cached)) {
      // The rest of the object is the informer's to tell.
      return { ...cached, status: written.status };
    }
    this.#latest.delete(key);
    return cached;
  }

  /** Milliseconds for which the object's status must not be written yet; 0: now is fine. */
  waitMs(object: T): number {
    const due = this.#notBefore.get(keyOf(object)) ?? 0;
    return Math.max(0, due - this.#clock.monotonic());
  }

  /** Makes the status so. Says whether anything had to be written. An object that is gone is fine. */
  async write(object: T, status: NonNullable<T['status']>, signal: AbortSignal): Promise<boolean> {
    const key = keyOf(object);
    const notBefore = this.#clock.monotonic() + gapMs(status);
    try {
      const written = await writeStatus(this.#client, this.#resource, object, status, signal);
      if (written === undefined) return false;
      this.#latest.set(key, written);
      this.#notBefore.set(key, notBefore);
      return true;
    } catch (error) {
      this.#latest.delete(key);
      this.#notBefore.set(key, notBefore);
      if (isNotFound(error)) return false;
      throw error;
    }
  }

  /** The object is gone. */
  forget(key: string): void {
    this.#latest.delete(key);
    this.#notBefore.delete(key);
  }
}

/**
 * Large statuses are written less often. While sixty instances start, whose engines need every core there is, each write
 * costs the API server and all who watch it as much as the start of a container.
 */
function gapMs(status: object): number {
  const { instances } = status as { readonly instances?: unknown };
  return baseGapMs + perInstanceGapMs * (Array.isArray(instances) ? instances.length : 0);
}

/** Versions are opaque by contract; every known server uses etcd's revision, and otherwise the informer wins. */
function isNewer(a: KubeObject, b: KubeObject): boolean {
  const left = Number(a.metadata.resourceVersion);
  const right = Number(b.metadata.resourceVersion);
  return Number.isFinite(left) && Number.isFinite(right) && left > right;
}
