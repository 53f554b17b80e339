import { renderRouter, type RouterConfig, type RouterPlace } from '../../network/haproxy/config.ts';
import {
  routerModel,
  usableAddresses,
  type Backend,
  type RouterModel,
} from '../../network/haproxy/model.ts';
import { planServers, type ServerState, type Worker } from '../../network/haproxy/servers.ts';
import { slotsFor } from '../../network/haproxy/slots.ts';
import type { HostKey } from '../../registry/seal.ts';
import type { Store } from '../../registry/store.ts';
import { sleep, type Clock } from '../../runtime/clock.ts';
import { linkSignals } from '../../runtime/linked-signal.ts';
import { Trigger } from '../../runtime/trigger.ts';
import type { Logger } from '../../telemetry/log.ts';
import { isAborted } from '../../runtime/aborted.ts';
import { ChallengeAnswers } from './challenge-answers.ts';
import type { AuditBook } from '../audit/audit-book.ts';
import { HaproxyControl } from './haproxy.ts';
import { RouterAwayError } from './master-cli.ts';
import { RouteView } from './route-view.ts';
import { stagedFile, type RouterFiles } from './router-files.ts';

/** The router is compared with what it should be this often, milliseconds. */
const auditMs = 30_000;
/** Shortest time between two loads of a configuration: each leaves an old process behind for its last connections. */
const reloadGapMs = 1_000;
/** How long a new process may take until it serves, milliseconds. */
const reloadMs = 20_000;
/** A refused configuration is tried again after so long, in case the router was at fault, milliseconds. */
const refusedAgainMs = 60_000;
/** Addresses in the file, from which a router that starts has them, may be so old, milliseconds. */
const fileLagMs = 2_000;
/** With more backends than this to look at, all are looked at in one go. */
const fewBackends = 16;
const maxOutput = 600;

export interface RouterKeeperDeps {
  readonly host: string;
  readonly store: Store;
  readonly key: HostKey;
  readonly files: RouterFiles;
  readonly place: RouterPlace;
  /** Whether a router is to run here, or does. */
  readonly wanted: () => boolean;
  /** Id of its running container. */
  readonly container: () => string | undefined;
  /** Has the router itself check a configuration. @returns its complaints; undefined: there are none. */
  readonly check: (
    container: string,
    file: string,
    signal: AbortSignal,
  ) => Promise<string | undefined>;
  /** Told what was put right, and asks for audits. */
  readonly audits?: AuditBook;
  readonly clock: Clock;
  readonly log: Logger;
  /** Called when `problems()` has changed. */
  readonly onProblems: () => void;
  /** Told which challenges of authorities (their tokens) the router answers, whenever it are others. */
  readonly onAnswered: (tokens: readonly string[]) => void;
}

/**
 * Keeps the configuration of this host's router: routes and contents from the registry, and the instances that serve now.
 * Changes of instances reach it over its socket, to all its processes, old ones with open connections too. Whatever else changes is
 * written, checked by the router itself, and loaded by a new process that takes the sockets over; if the check fails, the
 * last good configuration stays, and the host says what was wrong.
 *
 * Level-triggered: what the router runs is read from the router. When the registry is away it goes on as it is.
 */
export class RouterKeeper {
  readonly #deps: RouterKeeperDeps;
  readonly #log: Logger;
  readonly #haproxy: HaproxyControl;
  readonly #trigger = new Trigger();
  readonly #answers: ChallengeAnswers;
  #view: RouteView | undefined;
  /** All of it has to be looked at; else only these services. */
  #everything = true;
  #services = new Set<string>();
  /** Other challenges are to be answered. */
  #challengesChanged = false;
  /** What the router runs, as far as known. */
  #running: { readonly model: RouterModel; readonly config: RouterConfig } | undefined;
  readonly #slots = new Map<string, number>();
  #fileIsOld = false;
  #lastReload = -Infinity;
  #refused: { readonly structure: string; readonly at: number } | undefined;
  /** Hashes of certificates that the router does not take. */
  readonly #badCertificates = new Set<string>();
  #problems: readonly string[] = [];

  constructor(deps: RouterKeeperDeps) {
    this.#deps = deps;
    this.#log = deps.log.child({ component: 'router' });
    this.#haproxy = new HaproxyControl(deps.files.socket, deps.clock);
    this.#answers = new ChallengeAnswers({
      files: deps.files,
      haproxy: this.#haproxy,
      directory: deps.place.directory,
      onAnswered: deps.onAnswered,
    });
  }

  /** What is wrong with the router's configuration. */
  problems(): readonly string[] {
    return this.#problems;
  }

  /** Says that the router's container has changed. */
  changed(): void {
    this.#everything = true;
    this.#trigger.fire();
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock, wanted, audits } = this.#deps;
    const leave = audits?.onRequest(() => {
      this.changed();
    });
    while (!isAborted(signal)) {
      if (wanted()) await this.#serve(signal);
      else {
        this.#say([]);
        this.#answers.none();
        await this.#trigger.wait(clock, auditMs, signal);
      }
    }
    leave?.();
  }

  /** For as long as there is a router. */
  async #serve(signal: AbortSignal): Promise<void> {
    const { clock, wanted, host, store, key, log } = this.#deps;
    const over = new AbortController();
    const either = linkSignals(signal, over.signal);
    this.#everything = true;
    this.#view = new RouteView({
      ...{ host, store, key, clock, log },
      onRoutes: () => {
        this.changed();
      },
      onChallenges: () => {
        this.#challengesChanged = true;
        this.#trigger.fire();
      },
      onEndpoints: (services) => {
        for (const service of services) this.#services.add(service);
        this.#trigger.fire();
      },
    });
    const watching = this.#view.run(either.signal);
    try {
      while (!isAborted(signal) && wanted()) {
        const pauseMs = await this.#pass(this.#view, signal);
        await this.#trigger.wait(clock, pauseMs, signal);
      }
    } finally {
      over.abort();
      await watching;
      this.#view = undefined;
    }
  }

  /** One look. @returns after how long to look again if nothing happens. Rejects only when `signal` aborts. */
  async #pass(view: RouteView, signal: AbortSignal): Promise<number> {
    this.#trigger.clear();
    if (!view.synced) return auditMs;
    const services = this.#services;
    const everything = this.#everything || this.#running === undefined;
    this.#services = new Set();
    this.#everything = false;
    const challenges = everything || this.#challengesChanged;
    this.#challengesChanged = false;
    try {
      // The process that takes over when a configuration is loaded has them from the file.
      if (challenges) await this.#answers.write(view.challenges());
      const onlyChallenges = challenges && !everything && services.size === 0;
      const pauseMs = onlyChallenges
        ? auditMs
        : await this.#look(view, services, everything, signal);
      if (challenges && this.#deps.container() !== undefined) {
        await this.#answers.give(view.challenges(), signal);
      } else if (challenges) this.#answers.none();
      return this.#fileIsOld ? Math.min(pauseMs, fileLagMs) : pauseMs;
    } catch (error) {
      if (isAborted(signal)) return 0;
      this.#everything = true;
      this.#running = undefined;
      this.#answers.none();
      // One that is starting or stopping does not answer; its instance says how it is.
      if (!(error instanceof RouterAwayError)) {
        this.#log.warn({ err: error }, 'cannot configure the router; trying again');
      }
      return 1_000;
    }
  }

  async #look(
    view: RouteView,
    services: ReadonlySet<string>,
    everything: boolean,
    signal: AbortSignal,
  ): Promise<number> {
    if (!everything) {
      if (services.size > 0 && (await this.#follow(view, services, signal))) {
        this.#fileIsOld = true;
        return fileLagMs;
      }
      if (services.size === 0 && this.#fileIsOld) return this.#rewrite(view);
    }
    return this.#renew(view, signal);
  }

  /** Instances of these services came or went. @returns false when that is not enough. */
  async #follow(
    view: RouteView,
    services: ReadonlySet<string>,
    signal: AbortSignal,
  ): Promise<boolean> {
    const running = this.#running;
    if (running === undefined) return false;
    const backends = [...running.model.backends.values()].filter(({ service }) =>
      services.has(service),
    );
    if (backends.length === 0) return true;
    for (const backend of backends) {
      const { length } = addressesOf(view, backend);
      if (slotsFor(length, this.#slots.get(backend.name)) !== this.#slots.get(backend.name)) {
        return false;
      }
    }
    return this.#syncAll(view, backends, signal);
  }

  /** The file gets the present addresses. */
  async #rewrite(view: RouteView): Promise<number> {
    const { model } = this.#running ?? {};
    if (model === undefined) return 0;
    const config = this.#render(view, model);
    await this.#deps.files.update(config);
    this.#running = { model, config };
    this.#fileIsOld = false;
    return auditMs;
  }

  /** Looks at all there is. */
  async #renew(view: RouteView, signal: AbortSignal): Promise<number> {
    const { files, container, clock } = this.#deps;
    const model = this.#model(view);
    // At the same moment: what comes during the waits below is not in this model.
    const lateMs = view.lateMs();
    const id = container();
    if (id === undefined) {
      this.#running = undefined;
      this.#tellRefused(model);
      return auditMs;
    }
    const structure = await this.#haproxy.structure(signal);
    await this.#learnSlots(signal);
    const config = this.#render(view, model);
    if (structure !== config.structure) {
      const waitMs = Math.max(this.#waitMs(config), lateMs);
      if (waitMs > 0) {
        this.#everything = true;
        await this.#syncAll(view, [...(this.#running?.model ?? model).backends.values()], signal);
        return waitMs;
      }
      if (!(await this.#load(id, model, config, signal))) {
        // Whatever it runs, its instances are to be those that serve.
        await this.#syncAll(view, [...model.backends.values()], signal);
        // What was refused for a certificate's sake may do without it.
        return this.#everything ? 0 : refusedAgainMs;
      }
      // It ran the same before, and somebody has given it another.
      if (this.#running?.config.structure === config.structure) {
        const what = 'configuration of the router restored';
        this.#deps.audits?.repaired([{ kind: 'router', what }]);
      }
      this.#lastReload = clock.monotonic();
      await this.#learnSlots(signal);
    } else await files.update(config);
    this.#running = { model, config };
    this.#fileIsOld = false;
    this.#tellRefused(model);
    const enough = await this.#syncAll(view, [...model.backends.values()], signal);
    if (!enough) this.#everything = true;
    await files.sweep(config, model.certificates.keys());
    return enough ? auditMs : reloadGapMs;
  }

  /** How long a configuration has to wait until it may be tried. */
  #waitMs({ structure }: RouterConfig): number {
    const now = this.#deps.clock.monotonic();
    const gap = this.#lastReload + reloadGapMs - now;
    if (this.#refused?.structure !== structure) return gap;
    return Math.max(gap, this.#refused.at + refusedAgainMs - now);
  }

  /** Checks a configuration and has the router take it. @returns whether it did. */
  async #load(
    container: string,
    model: RouterModel,
    config: RouterConfig,
    signal: AbortSignal,
  ): Promise<boolean> {
    const { files, clock } = this.#deps;
    const complaint = await this.#try(container, model, config, signal);
    if (complaint !== undefined) {
      if (await this.#blame(container, model, signal)) {
        this.#everything = true;
        return false;
      }
      this.#refuse(config, `RouterConfigRefused: the last good configuration stays: ${complaint}`);
      return false;
    }
    await files.promote();
    await this.#haproxy.reload(signal);
    if (await this.#haproxy.runs(config.structure, reloadMs, signal)) {
      this.#refused = undefined;
      this.#log.info({ routes: model.routes.length }, 'the router has a new configuration');
      return true;
    }
    await files.restore();
    this.#refuse(
      config,
      'RouterReloadFailed: the router did not take a configuration that it found good',
    );
    // The master may be left without a process of its own choice: it is to load what is known to be good.
    await sleep(clock, 100, signal);
    await this.#haproxy.reload(signal).catch(() => undefined);
    return false;
  }

  async #try(
    container: string,
    model: RouterModel,
    config: RouterConfig,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    const { files, check } = this.#deps;
    const contents = [...model.certificates.keys()].map(
      (hash) => [hash, this.#view?.content(hash) ?? ''] as const,
    );
    await files.stage(config, new Map(contents));
    return (await check(container, stagedFile, signal))?.trim().slice(-maxOutput);
  }

  /** Finds certificates that the router refuses, so that they do not hold up all others. @returns whether there are any. */
  async #blame(container: string, model: RouterModel, signal: AbortSignal): Promise<boolean> {
    let found = false;
    for (const [hash, hosts] of model.certificates) {
      const alone: RouterModel = {
        ...{ backends: new Map(), routes: [], users: new Map(), refused: [] },
        certificates: new Map([[hash, hosts]]),
      };
      const config = renderRouter(alone, () => ({ addresses: [], slots: 0 }), this.#deps.place);
      const complaint = await this.#try(container, alone, config, signal);
      if (complaint === undefined) continue;
      this.#badCertificates.add(hash);
      this.#log.warn({ hosts, complaint }, 'the router does not take a certificate');
      found = true;
    }
    return found;
  }

  #refuse({ structure }: RouterConfig, problem: string): void {
    this.#refused = { structure, at: this.#deps.clock.monotonic() };
    this.#log.warn({ problem }, 'the router keeps its last configuration');
    this.#say([problem]);
  }

  /** @returns false when some addresses found no server. */
  async #syncAll(
    view: RouteView,
    backends: readonly Backend[],
    signal: AbortSignal,
  ): Promise<boolean> {
    let enough = true;
    const workers = await this.#haproxy.workers(signal);
    // First the one that gets new connections.
    for (const worker of workers.toSorted((a, b) => Number(b.current) - Number(a.current))) {
      try {
        const short = await this.#sync(worker, view, backends, signal);
        if (worker.current && short > 0) enough = false;
      } catch (error) {
        // An old one may have ended meanwhile.
        if (worker.current || !(error instanceof RouterAwayError)) throw error;
      }
    }
    return enough;
  }

  async #sync(
    worker: Worker,
    view: RouteView,
    backends: readonly Backend[],
    signal: AbortSignal,
  ): Promise<number> {
    const all =
      backends.length > fewBackends
        ? byBackend(await this.#haproxy.servers(worker, undefined, signal))
        : undefined;
    let short = 0;
    const commands: string[] = [];
    for (const backend of backends) {
      if (backend.port === undefined) continue;
      const servers =
        all === undefined
          ? await this.#haproxy.servers(worker, backend.name, signal)
          : (all.get(backend.name) ?? []);
      if (servers.length === 0) continue;
      const plan = planServers(addressesOf(view, backend), servers);
      commands.push(...plan.commands);
      short += plan.short;
    }
    if (commands.length > 0) await this.#haproxy.command(worker, commands, signal);
    return short;
  }

  async #learnSlots(signal: AbortSignal): Promise<void> {
    const worker = (await this.#haproxy.workers(signal)).find(({ current }) => current);
    if (worker === undefined) throw new RouterAwayError('the router has no process that serves');
    this.#slots.clear();
    for (const { backend } of await this.#haproxy.servers(worker, undefined, signal)) {
      this.#slots.set(backend, (this.#slots.get(backend) ?? 0) + 1);
    }
  }

  #model(view: RouteView): RouterModel {
    return routerModel(view.inputs(), (hash) =>
      this.#badCertificates.has(hash) ? undefined : view.content(hash),
    );
  }

  #render(view: RouteView, model: RouterModel): RouterConfig {
    return renderRouter(
      model,
      (backend) => {
        const addresses = addressesOf(view, backend);
        return { addresses, slots: slotsFor(addresses.length, this.#slots.get(backend.name)) };
      },
      this.#deps.place,
    );
  }

  #tellRefused({ refused }: RouterModel): void {
    this.#say(
      refused
        .slice(0, 5)
        .map(
          ({ route, why }) =>
            `RouteRefused: ${route.host}${route.path} of ${route.service}: ${why}`,
        ),
    );
  }

  #say(problems: readonly string[]): void {
    if (problems.join('\n') === this.#problems.join('\n')) return;
    this.#problems = problems;
    this.#deps.onProblems();
  }
}

function addressesOf(view: RouteView, { service, port }: Backend) {
  return port === undefined ? [] : usableAddresses(view.addresses(service, port));
}

function byBackend(servers: readonly ServerState[]): Map<string, ServerState[]> {
  const groups = new Map<string, ServerState[]>();
  for (const server of servers) {
    const group = groups.get(server.backend);
    if (group === undefined) groups.set(server.backend, [server]);
    else group.push(server);
  }
  return groups;
}
