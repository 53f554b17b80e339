import { canonicalJson, isObject, type JsonObject } from '../../api/json.ts';

/**
 * Sets of fields and their wire form FieldsV1. The model is that of structured-merge-diff
 * (sigs.k8s.io/structured-merge-diff/v6/fieldpath): a set is a tree whose edges are path elements; a
 * node may be a member itself, have members below it, or both.
 *
 * A path element is kept in its FieldsV1 spelling, made canonical: `f:name` a field, `k:{"name":"x"}`
 * the item of a list with these keys, `v:"x"` an item of a set, `i:0` an index.
 */
export type PathElement = string;

/** The text is not FieldsV1. */
export class FieldsV1Error extends Error {
  override readonly name = 'FieldsV1Error';
  readonly retryable = false;
}

/** Deeper sets are refused: no real object is nested like that. */
const maxDepth = 100;

export function fieldElement(name: string): PathElement {
  return `f:${name}`;
}

export function keyElement(keys: JsonObject): PathElement {
  return `k:${canonicalJson(keys)}`;
}

export function valueElement(value: unknown): PathElement {
  return `v:${canonicalJson(value)}`;
}

/** The canonical spelling of an element that came over the wire. */
function parseElement(text: string): PathElement {
  const body = text.slice(2);
  try {
    switch (text.slice(0, 2)) {
      case 'f:':
        return text;
      case 'k:': {
        const keys: unknown = JSON.parse(body);
        if (isObject(keys)) return keyElement(keys);
        break;
      }
      case 'v:':
        return valueElement(JSON.parse(body));
      case 'i:':
        if (/^\d+$/.test(body)) return `i:${Number(body)}`;
    }
  } catch {
    // Reported below with the text.
  }
  throw new FieldsV1Error(`not a path element: ${JSON.stringify(text)}`);
}

/** `.spec`, `[name="web"]`, `[="a"]`, `[0]`: as Kubernetes prints them in conflicts. */
function printElement(element: PathElement): string {
  const body = element.slice(2);
  switch (element[0]) {
    case 'f':
      return `.${body}`;
    case 'k': {
      const keys = JSON.parse(body) as JsonObject;
      const list = Object.keys(keys).map((key) => `${key}=${JSON.stringify(keys[key])}`);
      return `[${list.join(',')}]`;
    }
    case 'v':
      return `[=${body}]`;
    default:
      return `[${body}]`;
  }
}

export function printPath(path: readonly PathElement[]): string {
  return path.map(printElement).join('');
}

export class FieldSet {
  readonly members = new Set<PathElement>();
  readonly children = new Map<PathElement, FieldSet>();

  /** Adds the field at `path`; its parents do not become members. The empty path is nobody's. */
  insert(path: readonly PathElement[]): void {
    const last = path.at(-1);
    if (last !== undefined) this.descend(path.slice(0, -1)).members.add(last);
  }

  private descend(path: readonly PathElement[]): FieldSet {
    // eslint-disable-next-line @typescript-eslint/no-this-alias -- the walk starts here
    let set: FieldSet = this;
    for (const element of path) {
      let next = set.children.get(element);
      if (!next) set.children.set(element, (next = new FieldSet()));
      set = next;
    }
    return set;
  }

  isEmpty(): boolean {
    return this.members.size === 0 && [...this.children.values()].every((child) => child.isEmpty());
  }

  has(path: readonly PathElement[]): boolean {
    const [first, ...rest] = path;
    if (first === undefined) return false;
    if (rest.length === 0) return this.members.has(first);
    return this.children.get(first)?.has(rest) ?? false;
  }

  union(other: FieldSet): FieldSet {
    const out = new FieldSet();
    for (const member of this.members) out.members.add(member);
    for (const member of other.members) out.members.add(member);
    for (const [element, child] of this.children) {
      const twin = other.children.get(element);
      out.children.set(element, twin ? child.union(twin) : child);
    }
    for (const [element, child] of other.children) {
      if (!out.children.has(element)) out.children.set(element, child);
    }
    return out;
  }

  intersection(other: FieldSet): FieldSet {
    const out = new FieldSet();
    for (const member of this.members) if (other.members.has(member)) out.members.add(member);
    for (const [element, child] of this.children) {
      const twin = other.children.get(element);
      if (!twin) continue;
      const both = child.intersection(twin);
      if (!both.isEmpty()) out.children.set(element, both);
    }
    return out;
  }

  /** Members of this that are not members of `other`; what lies below a member of `other` stays. */
  difference(other: FieldSet): FieldSet {
    const out = new FieldSet();
    for (const member of this.members) if (!other.members.has(member)) out.members.add(member);
    for (const [element, child] of this.children) {
      const twin = other.children.get(element);
      const rest = twin ? child.difference(twin) : child;
      if (!rest.isEmpty()) out.children.set(element, rest);
    }
    return out;
  }

  /** As difference, and what lies below a member of `other` goes as well. */
  recursiveDifference(other: FieldSet): FieldSet {
    const out = new FieldSet();
    for (const member of this.members) if (!other.members.has(member)) out.members.add(member);
    for (const [element, child] of this.children) {
      if (other.members.has(element)) continue;
      const twin = other.children.get(element);
      const rest = twin ? child.recursiveDifference(twin) : child;
      if (!rest.isEmpty()) out.children.set(element, rest);
    }
    return out;
  }

  equals(other: FieldSet): boolean {
    return this.difference(other).isEmpty() && other.difference(this).isEmpty();
  }

  /** All member paths, parents before children, in a stable order. */
  *paths(prefix: readonly PathElement[] = []): Generator<PathElement[]> {
    for (const element of [...new Set([...this.members, ...this.children.keys()])].sort()) {
      if (this.members.has(element)) yield [...prefix, element];
      const child = this.children.get(element);
      if (child) yield* child.paths([...prefix, element]);
    }
  }

  /** The FieldsV1 form, keys sorted. */
  toFieldsV1(): JsonObject {
    const out: JsonObject = {};
    for (const element of [...new Set([...this.members, ...this.children.keys()])].sort()) {
      const child = this.children.get(element);
      const below = child && !child.isEmpty() ? child.toFieldsV1() : {};
      const self = this.members.has(element);
      if (!self && Object.keys(below).length === 0) continue;
      out[element] = self && Object.keys(below).length > 0 ? { '.': {}, ...below } : below;
    }
    return out;
  }

  /** @throws FieldsV1Error */
  static fromFieldsV1(fields: unknown, depth = 0): FieldSet {
    if (!isObject(fields)) throw new FieldsV1Error('FieldsV1 must be an object');
    if (depth > maxDepth) throw new FieldsV1Error('FieldsV1 is nested too deeply');
    const out = new FieldSet();
    for (const [text, below] of Object.entries(fields)) {
      if (text === '.') continue;
      const element = parseElement(text);
      if (!isObject(below)) throw new FieldsV1Error(`the value of ${text} must be an object`);
      const keys = Object.keys(below);
      if (keys.length === 0 || keys.includes('.')) out.members.add(element);
      if (keys.some((key) => key !== '.')) {
        out.children.set(element, FieldSet.fromFieldsV1(below, depth + 1));
      }
    }
    return out;
  }

  static of(...paths: (readonly PathElement[])[]): FieldSet {
    const out = new FieldSet();
    for (const path of paths) out.insert(path);
    return out;
  }
}
