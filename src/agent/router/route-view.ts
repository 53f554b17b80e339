import { serviceId } from '../../api/v1alpha1/names.ts';
import type { Address, RouteInput } from '../../network/haproxy/model.ts';
import type { CacheChange } from '../../registry/record-cache.ts';
import { RecordWatch } from '../../registry/record-watch.ts';
import { endpointRecords, routeRecords, routeSecretRecords } from '../../registry/records/index.ts';
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
}

/** What the registry says to the router of one host. While the registry is away the last known state stands. */
export class RouteView {
  readonly #options: RouteViewOptions;
  readonly #routes;
  readonly #endpoints;
  readonly #secrets;
  /** serviceId → paths of its endpoint records. */
  readonly #ofService = new Map<string, Set<string>>();
  /** Opened contents by hash; what was opened once is good for as long as it is there. */
  readonly #contents = new Map<string, string>();

  constructor(options: RouteViewOptions) {
    this.#options = options;
    const { store, clock, log, host } = options;
    this.#routes = new RecordWatch(store, routeRecords, { clock, log, onChange: options.onRoutes });
    this.#secrets = new RecordWatch(store, routeSecretRecords, {
      clock,
      log,
      prefix: `${routeSecretRecords.prefix}${host}/`,
      onChange: (change) => {
        this.#secretsChanged(change);
      },
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
    return this.#routes.synced && this.#endpoints.synced && this.#secrets.synced;
  }

  async run(signal: AbortSignal): Promise<void> {
    const restart = { baseMs: 200, capMs: 5_000 };
    const { log, clock } = this.#options;
    const watches = { routes: this.#routes, endpoints: this.#endpoints, secrets: this.#secrets };
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

  #secretsChanged({ changed }: CacheChange): void {
    for (const path of changed) {
      const hash = routeSecretRecords.parsePath(path)?.hash;
      if (hash !== undefined && !this.#secrets.records.has(path)) this.#contents.delete(hash);
    }
    this.#options.onRoutes();
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
