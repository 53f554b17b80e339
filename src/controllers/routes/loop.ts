import { equalJson } from '../../api/json.ts';
import { serviceId, type ServiceIdentity } from '../../api/v1alpha1/names.ts';
import { decide } from '../../registry/decide.ts';
import { RecordWatch } from '../../registry/record-watch.ts';
import {
  routeRecords,
  routeSecretRecords,
  type RouteRecord,
  type RouteSecretRecord,
} from '../../registry/records/route.ts';
import { keyFingerprint, seal, SealError } from '../../registry/seal.ts';
import type { Operation, Revision, Store } from '../../registry/store.ts';
import type { Clock } from '../../runtime/clock.ts';
import type { Task } from '../../runtime/supervise.ts';
import { Trigger } from '../../runtime/trigger.ts';
import type { Logger } from '../../telemetry/log.ts';
import type { ServiceWish } from '../service/desired.ts';
import { objectNameOf } from '../identity.ts';
import {
  RouteTable,
  type CertificateLookup,
  type CertificateWish,
  type RouteVerdict,
} from './route-table.ts';

export interface RouteLoopOptions {
  readonly store: Store;
  /** Throws while this operator does not lead. */
  readonly epoch: () => Revision;
  /** What a service asks for, by serviceId. */
  readonly wishOf: (key: string) => ServiceWish | undefined;
  readonly services: () => Iterable<string>;
  /** Hosts on which a router is placed. */
  readonly routerHosts: () => Iterable<string>;
  /** Public key of a host that contents are sealed for. */
  readonly sealingKey: (host: string) => string | undefined;
  /** Asks the API server itself whether no Service object has this identity. Rejects when it cannot be told. */
  readonly confirmGone: (identity: ServiceIdentity, signal: AbortSignal) => Promise<boolean>;
  /** The verdict about a service may be another. */
  readonly touched: (key: string) => void;
  /** What is known of a certificate that is to be obtained. */
  readonly news: CertificateLookup;
  /** Other certificates may be to be obtained. */
  readonly certificatesChanged: () => void;
  readonly clock: Clock;
  readonly log: Logger;
}

/** What could not be confirmed is asked again after so long, milliseconds. */
const againMs = 5_000;

/**
 * Decides which routes are in force, and gives each host with a router the certificates and users that they need. The only
 * writer of these records. A pass looks at the services that something happened to and those that contend with them; the
 * contents are compared for all router hosts when routes with contents or those hosts change.
 */
export class RouteLoop {
  readonly name = 'route loop';
  readonly #options: RouteLoopOptions;
  readonly #table = new RouteTable();
  readonly #trigger = new Trigger();
  readonly #routes;
  readonly #secrets;
  readonly #dirty = new Set<string>();
  #secretsDirty = true;
  #hosts = '';
  #ready = false;

  constructor(options: RouteLoopOptions) {
    this.#options = options;
    const { store, clock, log } = options;
    this.#routes = new RecordWatch(store, routeRecords, {
      clock,
      log,
      onChange: ({ changed }) => {
        for (const path of changed) {
          const key = routeRecords.parsePath(path);
          if (key !== undefined) this.mark(serviceId(key));
        }
      },
    });
    this.#secrets = new RecordWatch(store, routeSecretRecords, {
      clock,
      log,
      onChange: () => {
        this.#secretsDirty = true;
        this.#trigger.fire();
      },
    });
  }

  watches(): Task[] {
    return [
      { name: 'watch of routes', run: (signal) => this.#routes.run(signal) },
      { name: 'watch of route secrets', run: (signal) => this.#secrets.run(signal) },
    ];
  }

  async whenSynced(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#routes.whenSynced(signal), this.#secrets.whenSynced(signal)]);
  }

  /** Asks for a look at a service, by serviceId. Cheap. */
  mark(key: string): void {
    this.#dirty.add(key);
    this.#trigger.fire();
  }

  /** A router may have come to a host or left it, or a host may have another key. Cheap. */
  routersChanged(): void {
    this.#secretsDirty = true;
    const { routerHosts, touched } = this.#options;
    const hosts = [...new Set(routerHosts())].sort().join(' ');
    // Whether there is any is said of each service.
    if ((hosts === '') !== (this.#hosts === '')) for (const key of this.#table.ids()) touched(key);
    this.#hosts = hosts;
    this.#options.certificatesChanged();
    this.#trigger.fire();
  }

  /** How the routes of a service stand; undefined: it has none. */
  verdict(key: string): (RouteVerdict & { readonly routers: boolean }) | undefined {
    const wish = this.#options.wishOf(key);
    if (wish === undefined || this.#table.claim(key) === undefined || !this.#ready)
      return undefined;
    return {
      ...this.#table.verdict(key, this.#present(wish.identity), this.#options.news),
      routers: this.#hosts !== '',
    };
  }

  /** The certificates that are to be obtained; none before all that is asked for is known. */
  certificates(): Iterable<CertificateWish> {
    return this.#ready ? this.#table.certificates() : [];
  }

  /** There is something else to say about the certificate of a host. */
  newsChanged(host: string): void {
    for (const key of this.#table.usersOf(host)) this.#options.touched(key);
  }

  async run(signal: AbortSignal): Promise<void> {
    const { services, clock } = this.#options;
    for (const key of services()) this.mark(key);
    for (const { key } of this.#routes.records.values()) this.mark(serviceId(key));
    // All claims are known before anything is decided: who is older could come later.
    for (const key of [...this.#dirty]) this.#enter(key);
    this.#ready = true;
    this.routersChanged();
    while (!signal.aborted) {
      if (this.#dirty.size === 0 && !this.#secretsDirty) {
        await this.#trigger.wait(clock, 60_000, signal);
      }
      // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- it may abort during the wait
      if (signal.aborted) return;
      this.#trigger.clear();
      await this.#pass(signal);
    }
  }

  async #pass(signal: AbortSignal): Promise<void> {
    const { wishOf, touched } = this.#options;
    const concerned = new Set<string>();
    const keys = [...this.#dirty];
    this.#dirty.clear();
    for (const key of keys) for (const other of this.#enter(key)) concerned.add(other);
    const operations: Operation[] = [];
    for (const key of concerned) {
      const wish = wishOf(key);
      if (wish === undefined) operations.push(...(await this.#orphan(key, signal)));
      // What cannot be read says nothing: what it said before holds.
      else if (wish.want.type !== 'invalid') operations.push(...this.#write(wish));
    }
    const secrets = operations.length > 0 || this.#secretsDirty ? this.#contents(operations) : [];
    this.#secretsDirty = false;
    // Contents come before the routes that need them, and go after them.
    const puts = secrets.filter(({ type }) => type === 'put');
    const deletes = secrets.filter(({ type }) => type === 'delete');
    const all = [...puts, ...operations, ...deletes];
    if (all.length > 0) {
      await decide(this.#options.store, this.#options.epoch(), [], all, signal);
    }
    for (const key of concerned) touched(key);
    if (concerned.size > 0) this.#options.certificatesChanged();
  }

  /** Enters what a service asks for. @returns those whose verdict may be another. */
  #enter(key: string): Set<string> {
    const wish = this.#options.wishOf(key);
    const { want } = wish ?? {};
    if (wish === undefined || want?.type === 'remove') return this.#table.put(key, undefined);
    if (want?.type !== 'run') return new Set([key]);
    const { metadata } = wish.object;
    return this.#table.put(key, {
      createdAt: metadata.creationTimestamp ?? '',
      name: `${objectNameOf(wish.identity)} in ${wish.identity.namespace}`,
      routes: want.routes ?? [],
    });
  }

  #write({ key, identity }: ServiceWish): Operation[] {
    const path = routeRecords.path(identity);
    const present = this.#routes.records.get(path)?.value;
    const { accepted } = this.#table.verdict(key, this.#present(identity));
    if (accepted.length === 0) {
      const exists = present !== undefined || this.#routes.broken.has(path);
      return exists ? [{ type: 'delete', key: path }] : [];
    }
    if (equalJson(present?.routes, accepted)) return [];
    return [{ type: 'put', key: path, value: routeRecords.encode({ routes: [...accepted] }) }];
  }

  /** Records of a service without an object go when the API server itself says that there is none. */
  async #orphan(key: string, signal: AbortSignal): Promise<Operation[]> {
    const { confirmGone, clock, log } = this.#options;
    const record = [...this.#routes.records.values()].find((each) => serviceId(each.key) === key);
    if (record === undefined) return [];
    try {
      if (await confirmGone(record.key, signal)) return [{ type: 'delete', key: record.path }];
    } catch (error) {
      if (signal.aborted) return [];
      log.warn(
        { err: error, service: key },
        'cannot tell whether a service exists; its routes stay',
      );
    }
    clock.schedule(() => {
      this.mark(key);
    }, againMs);
    return [];
  }

  #present(identity: ServiceIdentity): readonly RouteRecord[] {
    return this.#routes.records.get(routeRecords.path(identity))?.value.routes ?? [];
  }

  /** Contents that router hosts lack, or have for nothing. @param routes changes that are about to be written */
  #contents(routes: readonly Operation[]): Operation[] {
    const { routerHosts, sealingKey, log } = this.#options;
    const needed = this.#needed(routes);
    const known = this.#known();
    const operations: Operation[] = [];
    const hosts = new Set(routerHosts());
    for (const host of hosts) {
      const publicKey = sealingKey(host);
      if (publicKey === undefined) continue;
      for (const hash of needed) {
        const path = routeSecretRecords.path({ host, hash });
        const recipient = keyFingerprint(publicKey);
        const text = known.get(hash);
        if (text === undefined || this.#secrets.records.get(path)?.value.recipient === recipient) {
          continue;
        }
        try {
          const value: RouteSecretRecord = { recipient, sealed: seal(publicKey, path, text) };
          operations.push({ type: 'put', key: path, value: routeSecretRecords.encode(value) });
        } catch (error) {
          if (!(error instanceof SealError)) throw error;
          log.warn({ host, reason: error.message }, 'cannot seal a content of routes for a host');
        }
      }
    }
    for (const { key, path } of this.#secrets.records.values()) {
      // What some service asks for may be in a record that the watch has not shown yet.
      const wanted = needed.has(key.hash) || known.has(key.hash);
      if (!hosts.has(key.host) || !wanted) operations.push({ type: 'delete', key: path });
    }
    return operations;
  }

  /** Hashes that routes in force name, and those that are about to be. */
  #needed(changes: readonly Operation[]): Set<string> {
    const changed = new Set(changes.map(({ key }) => key));
    const present = [...this.#routes.records.values()]
      .filter(({ path }) => !changed.has(path))
      .flatMap(({ value }) => value.routes);
    const coming = changes.flatMap((change) =>
      change.type === 'put' ? routeRecords.decode(change.value).routes : [],
    );
    return new Set(
      [...present, ...coming].flatMap(({ tls, users }) =>
        [tls?.certificate ?? [], users ?? []].flat(),
      ),
    );
  }

  #known(): Map<string, string> {
    const known = new Map<string, string>();
    for (const id of this.#table.ids()) {
      for (const { contents } of this.#table.claim(id)?.routes ?? []) {
        for (const [hash, text] of contents) known.set(hash, text);
      }
    }
    return known;
  }
}
