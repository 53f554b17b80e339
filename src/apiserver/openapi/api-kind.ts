import type { JsonSchema } from '../schema/types.ts';

/** A kind that the server serves, as far as its published schema is concerned. */
export interface ApiKind {
  /** Empty for the core group. */
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly plural: string;
  readonly namespaced: boolean;
  /** OpenAPI v3 schema of the whole object. */
  readonly schema: JsonSchema;
  /** For example `['status', 'scale']`. */
  readonly subresources: readonly string[];
}
