import type { KubeObject } from '../api/v1alpha1/meta.ts';
import { KubeError, unreadableReason } from './errors.ts';

/** One page of a list. */
interface ListPage<T> {
  readonly items: readonly T[];
  readonly metadata: { readonly resourceVersion: string; readonly continue?: string };
}

/**
 * Whether it is a list. A proxy's "200 OK, please log in" must not pass for an empty one: everything would seem to have
 * been deleted.
 */
export function isListPage<T>(answer: unknown): answer is ListPage<T> {
  const page = answer as Partial<ListPage<T>> | null;
  return (
    typeof page === 'object' &&
    Array.isArray(page?.items) &&
    typeof page.metadata?.resourceVersion === 'string'
  );
}

/** Whether it is an object of the API. */
export function isObject(answer: unknown): answer is KubeObject {
  const object = answer as Partial<KubeObject> | null;
  return typeof object === 'object' && typeof object?.metadata?.name === 'string';
}

/** The error for an answer that is not what the API promises. */
export function unreadable(what: string, expected: string): KubeError {
  const message = `${what}: the answer is no ${expected}; does the kubeconfig name an API server?`;
  return new KubeError({ code: 0, reason: unreadableReason, message });
}
