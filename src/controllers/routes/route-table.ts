import { routeKey, routeUrl } from '../../api/v1alpha1/route.ts';
import type { RouteRecord } from '../../registry/records/route.ts';
import type { RouteProblem, RouteWish } from './resolve.ts';

/** What a service asks for, and how long it has been there. */
export interface RouteClaim {
  /** Who is older goes first; RFC 3339. */
  readonly createdAt: string;
  /** For people: "shop-web in default". */
  readonly name: string;
  readonly routes: readonly RouteWish[];
}

/** How the routes of a service stand. */
export interface RouteVerdict {
  /** Those that are to be in force. */
  readonly accepted: readonly RouteRecord[];
  readonly urls: readonly string[];
  readonly problems: readonly {
    readonly reason: RouteProblem['reason'] | 'RouteTaken';
    readonly message: string;
  }[];
  /** Worth knowing, though the route works. */
  readonly notes: readonly string[];
}

/**
 * Who has which host and path: the service that is older (by name where they are equally old), whether or not its route can
 * be served now, so that a route never wanders because a Secret is gone for a moment. A change costs as much as the services
 * that it touches.
 */
export class RouteTable {
  readonly #claims = new Map<string, RouteClaim>();
  /** Host and path → serviceIds that claim it. */
  readonly #byPlace = new Map<string, Set<string>>();
  /** Host → serviceIds with a certificate for it. */
  readonly #byHost = new Map<string, Set<string>>();

  /** @param claim undefined: it asks for nothing any more. @returns services whose verdict may be another now. */
  put(id: string, claim: RouteClaim | undefined): Set<string> {
    const touched = new Set([id]);
    const before = this.#claims.get(id);
    for (const route of before?.routes ?? []) this.#index(id, route, 'delete', touched);
    if (claim === undefined || claim.routes.length === 0) this.#claims.delete(id);
    else {
      this.#claims.set(id, claim);
      for (const route of claim.routes) this.#index(id, route, 'add', touched);
    }
    return touched;
  }

  ids(): IterableIterator<string> {
    return this.#claims.keys();
  }

  claim(id: string): RouteClaim | undefined {
    return this.#claims.get(id);
  }

  /**
   * @param present the routes of the service that are in force. One whose contents cannot be had now stays as it was:
   * nothing that works ends because a Secret is unreadable, gone or spoilt.
   */
  verdict(id: string, present: readonly RouteRecord[]): RouteVerdict {
    const claim = this.#claims.get(id);
    const accepted: RouteRecord[] = [];
    const urls: string[] = [];
    const problems: RouteVerdict['problems'][number][] = [];
    const notes: string[] = [];
    for (const wish of claim?.routes ?? []) {
      const place = routeKey(wish);
      const owner = this.#first(this.#byPlace.get(place));
      if (owner !== id) {
        const taken = this.#claims.get(owner ?? '')?.name ?? 'another service';
        problems.push({
          reason: 'RouteTaken',
          message: `${place} belongs to ${taken}, which is older`,
        });
        continue;
      }
      const kept = present.find((route) => routeKey(route) === place);
      const record = wish.record ?? kept;
      if (wish.problem !== undefined) {
        const { reason, message } = wish.problem;
        const effect = kept === undefined ? 'not served' : 'served as before';
        problems.push({ reason, message: `${place} is ${effect}: ${message}` });
      }
      if (record === undefined) continue;
      const certificate = this.#certificateFor(wish.host) ?? record.tls?.certificate;
      const differs = record.tls !== undefined && certificate !== record.tls.certificate;
      if (differs) notes.push(`${wish.host} has the certificate of an older service`);
      accepted.push(
        record.tls === undefined || certificate === undefined
          ? record
          : { ...record, tls: { ...record.tls, certificate } },
      );
      const url = routeUrl({ ...wish, ...(wish.tls ? { tls: true } : { tls: undefined }) });
      if (url !== undefined) urls.push(url);
    }
    return { accepted, urls, problems, notes };
  }

  /** A host shows one certificate: that of the oldest service that has one for it. */
  #certificateFor(host: string): string | undefined {
    const owner = this.#first(this.#byHost.get(host));
    const routes = this.#claims.get(owner ?? '')?.routes ?? [];
    return routes.find((route) => route.host === host && route.record?.tls !== undefined)?.record
      ?.tls?.certificate;
  }

  #first(ids: ReadonlySet<string> | undefined): string | undefined {
    let first: string | undefined;
    for (const id of ids ?? []) if (first === undefined || this.#isOlder(id, first)) first = id;
    return first;
  }

  #isOlder(a: string, b: string): boolean {
    const [left, right] = [
      this.#claims.get(a)?.createdAt ?? '',
      this.#claims.get(b)?.createdAt ?? '',
    ];
    return left === right ? a < b : left < right;
  }

  #index(id: string, route: RouteWish, how: 'add' | 'delete', touched: Set<string>): void {
    const places: [Map<string, Set<string>>, string][] = [[this.#byPlace, routeKey(route)]];
    if (route.record?.tls !== undefined) places.push([this.#byHost, route.host]);
    for (const [index, key] of places) {
      const ids = index.get(key) ?? new Set<string>();
      for (const other of ids) touched.add(other);
      ids[how](id);
      if (ids.size === 0) index.delete(key);
      else index.set(key, ids);
    }
  }
}
