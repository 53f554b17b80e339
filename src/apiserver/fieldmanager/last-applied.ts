import { isObject, type JsonObject } from '../../api/json.ts';
import { FieldSet } from './field-set.ts';
import { compare } from './merge.ts';
import { fieldSetOf } from './typed.ts';
import type { MergeType } from './typed.ts';

/** What kubectl's client-side apply leaves behind: the configuration as JSON. */
export const lastAppliedAnnotation = 'kubectl.kubernetes.io/last-applied-configuration';
/** The manager whose applies take over from client-side apply. */
export const kubectlManager = 'kubectl';
/** Kubernetes' limit for the annotations of an object: a bigger configuration is not recorded. */
const maxAnnotationBytes = 256 * 1024;

function annotations(object: JsonObject): JsonObject {
  const metadata = object['metadata'];
  const found = isObject(metadata) ? metadata['annotations'] : undefined;
  return isObject(found) ? found : {};
}

/**
 * Fields that client-side apply set and nobody changed since: the same user may go over to server-side
 * apply without being told that he is in conflict with himself.
 */
export function fieldsOfLastApplied(live: JsonObject, type: MergeType): FieldSet {
  const text = annotations(live)[lastAppliedAnnotation];
  if (typeof text !== 'string') return new FieldSet();
  let last: unknown;
  try {
    last = JSON.parse(text);
  } catch {
    return new FieldSet();
  }
  if (!isObject(last)) return new FieldSet();
  const changed = compare(last, live, type);
  return fieldSetOf(last, type)
    .difference(changed.modified)
    .difference(changed.removed)
    .difference(changed.added);
}

/** `object` with an existing last-applied annotation brought up to date, for users of both kinds of apply. */
export function refreshLastApplied(object: JsonObject, applied: JsonObject): JsonObject {
  if (annotations(object)[lastAppliedAnnotation] === undefined) return object;
  const text = `${JSON.stringify(withAnnotation(applied, undefined))}\n`;
  return withAnnotation(object, Buffer.byteLength(text) > maxAnnotationBytes ? undefined : text);
}

/** A copy with the annotation set, or without it. */
function withAnnotation(object: JsonObject, text: string | undefined): JsonObject {
  const found = annotations(object);
  if (text === undefined && found[lastAppliedAnnotation] === undefined) return object;
  const rest = Object.entries(found).filter(([key]) => key !== lastAppliedAnnotation);
  const next = Object.fromEntries(
    text === undefined ? rest : [...rest, [lastAppliedAnnotation, text]],
  );
  return { ...object, metadata: { ...(object['metadata'] as JsonObject), annotations: next } };
}
