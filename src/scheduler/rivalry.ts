import { globMatches, isGlob } from './glob.ts';

/**
 * Which services must not share a host, because one of the two says so. Patterns are `project/service` with globs, and
 * hold within a namespace. Services are known by their keys, `namespace/project/service`.
 */
export class Rivalry {
  /** By namespace, then by service: what it must not share a host with. */
  readonly #declared = new Map<string, Map<string, readonly string[]>>();

  /** Takes note of what a service says of itself; empty or undefined: nothing (more). */
  declare(service: string, patterns: readonly string[] | undefined): void {
    const { namespace } = split(service);
    const declared = this.#declared.get(namespace) ?? new Map<string, readonly string[]>();
    if (patterns === undefined || patterns.length === 0) declared.delete(service);
    else declared.set(service, patterns);
    if (declared.size === 0) this.#declared.delete(namespace);
    else this.#declared.set(namespace, declared);
  }

  /** Whether no service says anything. */
  get isEmpty(): boolean {
    return this.#declared.size === 0;
  }

  /** Whether the service itself says that it must not share a host with the other. */
  declares(service: string, other: string): boolean {
    const { namespace } = split(service);
    const patterns = this.#declared.get(namespace)?.get(service);
    return patterns !== undefined && matches(patterns, namespace, other);
  }

  /**
   * The services that must not share a host with this one, in either direction; the service itself among them if it
   * wants no two of its instances on one host. O(services of the namespace) when a pattern has a glob in it.
   *
   * @param candidates services of the namespace that are placed somewhere
   */
  rivalsOf(
    service: string,
    patterns: readonly string[],
    candidates: (namespace: string) => Iterable<string>,
  ): Set<string> {
    const { namespace } = split(service);
    const rivals = new Set<string>();
    if (patterns.some(isGlob)) {
      for (const other of candidates(namespace)) {
        if (matches(patterns, namespace, other)) rivals.add(other);
      }
      if (matches(patterns, namespace, service)) rivals.add(service);
    } else {
      for (const pattern of patterns) rivals.add(`${namespace}/${pattern}`);
    }
    for (const [other, theirs] of this.#declared.get(namespace) ?? []) {
      if (other !== service && matches(theirs, namespace, service)) rivals.add(other);
    }
    return rivals;
  }
}

function matches(patterns: readonly string[], namespace: string, service: string): boolean {
  const at = split(service);
  return (
    at.namespace === namespace &&
    patterns.some((pattern) => globMatches(pattern, at.withinNamespace))
  );
}

function split(service: string): { namespace: string; withinNamespace: string } {
  const slash = service.indexOf('/');
  return { namespace: service.slice(0, slash), withinNamespace: service.slice(slash + 1) };
}
