import { routeKey, routeUrl } from '../../api/v1alpha1/route.ts';
import type { RouteRecord } from '../../registry/records/route.ts';
import type { AcmeWish, ObtainedCertificate, RouteProblem, RouteWish } from './resolve.ts';

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

/** A certificate that is to be obtained and renewed, for one host. */
export interface CertificateWish {
  readonly host: string;
  /** serviceId of the service that has it: the oldest one that serves the host over https. */
  readonly service: string;
  /** Of that service's namespace. */
  readonly secret: string;
  readonly certificate?: ObtainedCertificate;
  /** It cannot be told whether there is one. */
  readonly unreadable: boolean;
  /** There is a Secret of that name which is somebody else's. */
  readonly foreign: boolean;
}

/** What there is to say about the certificate of a host that is to be obtained. */
export interface CertificateNews {
  /** Why there is none (yet), without the place where it is asked for. */
  readonly problem: RouteProblem;
  /** Worth knowing while there is a certificate. */
  readonly note?: string;
}

/** What is known of the certificate of a host. */
export type CertificateLookup = (host: string) => CertificateNews | undefined;

/**
 * Who has which host and path: the service that is older (by name where they are equally old), whether or not its route can
 * be served now, so that a route never wanders because a Secret is gone for a moment. A change costs as much as the services
 * that it touches.
 */
export class RouteTable {
  readonly #claims = new Map<string, RouteClaim>();
  /** Host and path → serviceIds that claim it. */
  readonly #byPlace = new Map<string, Set<string>>();
  /** Host → serviceIds that want https for it. */
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

  /** The certificates that are to be obtained. */
  *certificates(): Generator<CertificateWish> {
    for (const host of this.#byHost.keys()) {
      const [owner] = this.#certified(host);
      if (owner?.wish.acme === undefined) continue;
      const { secret, certificate, unreadable, foreign } = owner.wish.acme;
      yield {
        ...{ host, service: owner.id, secret, unreadable, foreign },
        ...(certificate === undefined ? {} : { certificate }),
      };
    }
  }

  /** serviceIds that want https for a host. */
  usersOf(host: string): ReadonlySet<string> {
    return this.#byHost.get(host) ?? new Set();
  }

  /**
   * @param present the routes of the service that are in force. One whose contents cannot be had now stays as it was:
   * nothing that works ends because a Secret is unreadable, gone or spoilt.
   * @param news of certificates that are to be obtained
   */
  verdict(
    id: string,
    present: readonly RouteRecord[],
    news: CertificateLookup = () => undefined,
  ): RouteVerdict {
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
      const certificate = wish.tls ? this.#certificateFor(wish.host) : undefined;
      const record = wish.record ?? interim(wish.acme, kept, certificate) ?? kept;
      const obtained = wish.acme && news(wish.host);
      const lacks = certificate === undefined || wish.acme?.plain === undefined;
      if (wish.problem !== undefined && (wish.acme === undefined || lacks)) {
        const lacking = wish.problem.reason === 'CertificatePending';
        const { reason, message } = (lacking ? obtained?.problem : undefined) ?? wish.problem;
        const where = lacking ? `${wish.acme?.field ?? ''}: ` : '';
        problems.push({
          reason,
          message: `${place} is ${effect(record, kept)}: ${where}${message}`,
        });
      } else if (wish.acme?.foreign === true) {
        notes.push(`the operator has not made Secret ${wish.acme.secret} and does not renew it`);
      } else if (obtained?.note !== undefined) notes.push(obtained.note);
      if (record === undefined) continue;
      const shown = certificate ?? record.tls?.certificate;
      const differs = record.tls !== undefined && shown !== record.tls.certificate;
      if (differs) notes.push(`${wish.host} has the certificate of an older service`);
      const accept =
        record.tls === undefined || shown === undefined
          ? record
          : { ...record, tls: { ...record.tls, certificate: shown } };
      accepted.push(accept);
      const url = routeUrl({ ...wish, tls: accept.tls });
      if (url !== undefined) urls.push(url);
    }
    return { accepted, urls, problems, notes };
  }

  /** A host shows one certificate: that of the oldest service that has one for it. */
  #certificateFor(host: string): string | undefined {
    for (const { wish } of this.#certified(host)) {
      if (wish.record?.tls !== undefined) return wish.record.tls.certificate;
    }
    return undefined;
  }

  /** Who wants https for a host, and has a path of it; the oldest first. */
  *#certified(host: string): Generator<{ readonly id: string; readonly wish: RouteWish }> {
    const ids = [...(this.#byHost.get(host) ?? [])];
    for (const id of ids.sort((a, b) => (this.#isOlder(a, b) ? -1 : 1))) {
      for (const wish of this.#claims.get(id)?.routes ?? []) {
        if (wish.host !== host || !wish.tls) continue;
        if (this.#first(this.#byPlace.get(routeKey(wish))) === id) yield { id, wish };
      }
    }
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
    if (route.tls) places.push([this.#byHost, route.host]);
    for (const [index, key] of places) {
      const ids = index.get(key) ?? new Set<string>();
      for (const other of ids) touched.add(other);
      ids[how](id);
      if (ids.size === 0) index.delete(key);
      else index.set(key, ids);
    }
  }
}

/**
 * A route for which there is no certificate of its own. That of another service does as well, and so does an earlier one. Without any,
 * a route that was served over plain http before goes on so, and one that allows plain http begins so; one that does not is not served.
 */
function interim(
  acme: AcmeWish | undefined,
  kept: RouteRecord | undefined,
  certificate: string | undefined,
): RouteRecord | undefined {
  if (acme?.plain === undefined) return undefined;
  const shown = certificate ?? kept?.tls?.certificate;
  if (shown !== undefined)
    return { ...acme.plain, tls: { certificate: shown, redirect: acme.redirect } };
  return kept !== undefined || !acme.redirect ? acme.plain : undefined;
}

function effect(record: RouteRecord | undefined, kept: RouteRecord | undefined): string {
  if (record === undefined) return 'not served';
  if (kept !== undefined) return 'served as before';
  return 'served over plain http';
}
