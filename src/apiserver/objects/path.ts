import { isObject, setMember, type JsonObject } from '../../api/json.ts';

/** Splits a simple dotted path as CRDs use it (`.spec.replicas`, `.metadata.annotations.a\.b`) into members. */
export function splitPath(path: string): string[] {
  const parts: string[] = [];
  let part = '';
  for (let i = path.startsWith('.') ? 1 : 0; i < path.length; i++) {
    const char = path.charAt(i);
    if (char === '\\' && i + 1 < path.length) part += path.charAt(++i);
    else if (char === '.') {
      parts.push(part);
      part = '';
    } else part += char;
  }
  parts.push(part);
  return parts;
}

/** The value at `path`, or undefined where something on the way is missing. */
export function getPath(object: unknown, path: readonly string[]): unknown {
  let at: unknown = object;
  for (const part of path) {
    if (!isObject(at) || !Object.hasOwn(at, part)) return undefined;
    at = at[part];
  }
  return at;
}

/** Writes `value` at `path`, making the objects on the way. */
export function setPath(object: JsonObject, path: readonly string[], value: unknown): void {
  let at = object;
  for (const [index, part] of path.entries()) {
    if (index === path.length - 1) {
      setMember(at, part, value);
      return;
    }
    let next: unknown = Object.hasOwn(at, part) ? at[part] : undefined;
    if (!isObject(next)) {
      next = {};
      setMember(at, part, next);
    }
    at = next as JsonObject;
  }
}
