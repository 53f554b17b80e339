import type { JsonObject, JsonSchema } from '../schema/types.ts';

/** One entry of metadata.managedFields. */
export interface ManagedFieldsEntry {
  readonly manager?: string;
  readonly operation?: 'Apply' | 'Update';
  readonly apiVersion?: string;
  readonly time?: string;
  readonly fieldsType?: string;
  readonly fieldsV1?: JsonObject;
  readonly subresource?: string;
}

export interface WriteContext {
  /** `fieldManager` of the request, else the User-Agent up to its first "/". */
  readonly manager: string;
  readonly apiVersion: string;
  /** Name of the subresource that is written to (`status`), absent for the object itself. */
  readonly subresource?: string;
  readonly now: Date;
  /** The openAPIV3Schema of the kind: says which lists are maps or sets and what is atomic. */
  readonly schema: JsonSchema;
}

export interface TrackUpdateArgs extends WriteContext {
  /** The stored object; absent on create. */
  readonly live?: JsonObject | undefined;
  /** The object that is about to be stored. */
  readonly next: JsonObject;
  readonly operation: 'Update';
}

export interface ApplyPatchArgs extends WriteContext {
  /** The stored object; absent when the apply creates it. */
  readonly live?: JsonObject | undefined;
  /** The body of the apply request. */
  readonly applied: JsonObject;
  /** Takes fields over that others own with another value. */
  readonly force: boolean;
}

/** A field that the applied configuration wants to change and that another manager owns. */
export interface FieldConflict {
  readonly manager: string;
  readonly apiVersion: string;
  readonly subresource?: string;
  readonly operation: 'Apply' | 'Update';
  readonly time?: string;
  /** As kubectl expects it: `.spec.services.web.image`. */
  readonly path: string;
}

export type ApplyResult =
  { readonly object: JsonObject } | { readonly conflicts: readonly FieldConflict[] };

/** The applied configuration itself is at fault. `code` is the HTTP status to answer with. */
export class ApplyError extends Error {
  override readonly name = 'ApplyError';
  readonly retryable = false;
  readonly code: 400 | 422;
  readonly field: string | undefined;

  constructor(code: 400 | 422, message: string, field?: string) {
    super(message);
    this.code = code;
    this.field = field;
  }
}

/** `next` with metadata.managedFields brought up to date for a create, update or (not apply) patch. */
export function trackUpdate(args: TrackUpdateArgs): JsonObject {
  return args.next;
}

/**
 * Server-side apply. The result is not yet pruned, defaulted or validated; its managedFields are right.
 *
 * @throws ApplyError when `applied` is malformed (managedFields set, duplicate list keys …).
 */
export function applyPatch(args: ApplyPatchArgs): ApplyResult {
  return { object: { ...args.live, ...args.applied } };
}
