import type { FieldPath, Segment } from '../field-path.ts';
import type { SchemaNode } from '../node.ts';

/**
 * Reads the `fieldPath` of a rule: `.spec.image`, `['a.b']`, `.map['key']`. Undefined when it is
 * malformed or does not lead to a declared field; list indexes are not allowed, as in Kubernetes.
 */
export function parseFieldPath(text: string, node: SchemaNode): FieldPath | undefined {
  const path: Segment[] = [];
  let rest = text;
  let at: SchemaNode | undefined = node;
  while (rest !== '') {
    const match: RegExpExecArray | null = /^(?:\.([^.[\]]+)|\['((?:[^'\\]|\\.)*)'\])/.exec(rest);
    if (!match) return undefined;
    rest = rest.slice(match[0].length);
    const key: string = match[1] ?? (match[2] ?? '').replace(/\\(.)/g, '$1');
    const field: SchemaNode | undefined = at?.fields.get(key);
    if (field) path.push(key);
    else if (at?.values) path.push({ key });
    else return undefined;
    at = field ?? at?.values;
  }
  return path.length === 0 ? undefined : path;
}
