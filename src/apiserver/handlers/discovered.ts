import type { Resource } from '../resources/resource.ts';

/** An entry of discovery: a resource, or something that can only be created, like a review. */
export type Discovered = Pick<
  Resource,
  | 'group'
  | 'version'
  | 'plural'
  | 'singular'
  | 'kind'
  | 'shortNames'
  | 'categories'
  | 'namespaced'
  | 'verbs'
  | 'status'
  | 'scale'
>;
