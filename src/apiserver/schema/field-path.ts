/**
 * Where in an object something is: property names and list indexes, with the map keys marked, since
 * Kubernetes prints those either as `.key` (value validation) or as `[key]` (rules and list types).
 */
export type Segment = string | number | { readonly key: string };
export type FieldPath = readonly Segment[];

/** Kubernetes' field.Path: `spec.services[web].ports[0]`; the root is `<nil>`. */
export function printFieldPath(path: FieldPath): string {
  if (path.length === 0) return '<nil>';
  let out = '';
  for (const segment of path) {
    if (typeof segment === 'number') out += `[${segment}]`;
    else if (typeof segment === 'object') out += `[${segment.key}]`;
    else out += out === '' ? segment : `.${segment}`;
  }
  return out;
}

/** The form that value validation uses, where map keys look like fields: `spec.services.web.ports[0]`. */
export function printDottedPath(path: FieldPath): string {
  return path.length === 0
    ? ''
    : printFieldPath(path.map((s) => (typeof s === 'object' ? s.key : s)));
}

/** The property name or index that a segment stands for. */
export function segmentKey(segment: Segment): string | number {
  return typeof segment === 'object' ? segment.key : segment;
}
