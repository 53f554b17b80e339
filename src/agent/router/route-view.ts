import { serviceId } from '../../api/v1alpha1/names.ts';
import { challengeMap } from '../../network/haproxy/challenges.ts';
import type { Address, RouteInput } from '../../network/haproxy/model.ts';
import type { CacheChange } from '../../registry/record-cache.ts';
import { RecordWatch } from '../../registry/record-watch.ts';
import {
  acmeChallengeRecords,
  endpointRecords,
  routeRecords,
  routeSecretRecords,
} from '../../registry/records/index.ts';
import { open, SealError, type HostKey } from '../../registry/seal.ts';
import type { Store } from '../../registry/store.ts';
import type { Clock } from '../../runtime/clock.ts';
import { supervise } from '../../runtime/supervise.ts';
import type { Logger } from '../../telemetry/log.ts';

export interface RouteViewOptions {
  readonly host: string;
  readonly store: Store;
  readonly key: HostKey;
  readonly clock: Clock;
  readonly log: Logger;
  /** Endpoints of these services changed (serviceId). */
  readonly onEndpoints: (services: ReadonlySet<string>) => void;
  /** Routes or contents changed. */
  readonly onRoutes: () => void;
  /** What an authority is to be answered changed. */
  readonly onChallenges: () => void;
}

/** A watch is not later than another one by more than this, as a rule. */
const lateMs = 5_000;

/** What the registry says to the router of one host. While the registry is away the last known state stands. */
export class RouteView {
  readonly #options: RouteViewOptions;
  readonly #routes;
  readonly #endpoints;
  readonly #secrets;
  readonly #challenges;
  /** serviceId → paths of its endpoint records. */
  readonly #ofService = new Map<string, Set<string>>();
  /** Opened contents by hash; what was opened once is good for as long as it is there, or a route names it. */
  readonly #contents = new Map<string, string>();
  /** Contents that routes name and that are not here: since when, monotonic. */
  readonly #missing = new Map<string, number>();

  constructor(options: RouteViewOptions) {
    this.#options = options;
    const { store, clock, log, host } = options;
    this.#routes = new RecordWatch(store, routeRecords, {
      clock,
      log,
      onChange: () => {
        this.#sweep();
        options.onRoutes();
      },
    });
    this.#secrets = new RecordWatch(store, routeSecretRecords, {
      clock,
      log,
      prefix: `${routeSecretRecords.prefix}${host}/`,
      onChange: () => {
        this.#secretsChanged();
      },
    });
    this.#challenges = new RecordWatch(store, acmeChallengeRecords, {
      clock,
      log,
      onChange: options.onChallenges,
    });
    this.#endpoints = new RecordWatch(store, endpointRecords, {
      clock,
      log,
      onChange: (change) => {
        this.#endpointsChanged(change);
      },
    });
  }

  /** Whether everything has been read: before that, nothing is known to be gone. */
  get synced(): boolean {
    const watches = [this.#routes, this.#endpoints, this.#secrets, this.#challenges];
    return watches.every(({ synced }) => synced);
  }

  async run(signal: AbortSignal): Promise<void> {
    const restart = { baseMs: 200, capMs: 5_000 };
    const { log, clock } = this.#options;
    const watches = {
      routes: this.#routes,
      endpoints: this.#endpoints,
      secrets: this.#secrets,
      challenges: this.#challenges,
    };
    await supervise(
      Object.entries(watches).map(([name, watch]) => ({
        name: `router: ${name}`,
        run: (stop: AbortSignal) => watch.run(stop),
        restart,
      })),
      { log, clock },
      signal,
    );
  }

  inputs(): RouteInput[] {
    return [...this.#routes.records.values()].flatMap(({ key, value }) =>
      value.routes.map((route) => ({ ...route, service: serviceId(key) })),
    );
  }

  /** What authorities are to be answered: `host/token` → answer. */
  challenges(): ReadonlyMap<string, string> {
    return challengeMap(
      [...this.#challenges.records.values()].map(({ key, value }) => ({ ...value, ...key })),
    );
  }

  /** A content by its hash; undefined: it is not here, or not for this host. */
  content(hash: string): string | undefined {
    const known = this.#contents.get(hash);
    if (known !== undefined) return known;
    const { host, key, log } = this.#options;
    const record = this.#secrets.get({ host, hash });
    if (record === undefined) return undefined;
    try {
      const text = open(key, record.path, record.value.sealed);
      this.#contents.set(hash, text);
      return text;
    } catch (error) {
      if (!(error instanceof SealError)) throw error;
      log.warn(
        { path: record.path, reason: error.message },
        'a content of routes cannot be opened',
      );
      return undefined;
    }
  }

  /** Where the service's instances serve this port now. */
  addresses(service: string, port: number): Address[] {
    const found: Address[] = [];
    for (const path of this.#ofService.get(service) ?? []) {
      const value = this.#endpoints.records.get(path)?.value;
      if (value?.ports.some((each) => each.port === port && each.protocol === 'tcp') === true) {
        found.push({ ip: value.ipv4_addr, port });
      }
    }
    return found;
  }

  /**
   * For how long to wait until contents may be here that routes name, milliseconds. What the operator writes at once, contents and
   * the routes that name them, is told by two watches: either may be late, and nothing that is served ends because of it.
   */
  lateMs(): number {
    const now = this.#options.clock.monotonic();
    const named = this.#named();
    for (const hash of this.#missing.keys()) if (!named.has(hash)) this.#missing.delete(hash);
    let left = 0;
    for (const hash of named) {
      if (this.content(hash) !== undefined) this.#missing.delete(hash);
      else {
        const since = this.#missing.get(hash) ?? now;
        this.#missing.set(hash, since);
        left = Math.max(left, since + lateMs - now);
      }
    }
    return left;
  }

  /** Hashes of contents that routes name. */
  #named(): Set<string> {
    return new Set(
      this.inputs().flatMap(({ tls, users }) => [tls?.certificate ?? [], users ?? []].flat()),
    );
  }

  #secretsChanged(): void {
    this.#sweep();
    this.#options.onRoutes();
  }

  /** Forgets contents that are gone, unless routes name them still. */
  #sweep(): void {
    const { host } = this.#options;
    const gone = [...this.#contents.keys()].filter((hash) => !this.#secrets.get({ host, hash }));
    if (gone.length === 0) return;
    const named = this.#named();
    for (const hash of gone) if (!named.has(hash)) this.#contents.delete(hash);
  }

  #endpointsChanged({ changed }: CacheChange): void {
    const services = new Set<string>();
    for (const path of changed) {
      const key = endpointRecords.parsePath(path);
      if (key === undefined) continue;
      const service = serviceId(key);
      services.add(service);
      const paths = this.#ofService.get(service) ?? new Set<string>();
      if (this.#endpoints.records.has(path)) this.#ofService.set(service, paths.add(path));
      else if (paths.delete(path) && paths.size === 0) this.#ofService.delete(service);
    }
    this.#options.onEndpoints(services);
  }
}
