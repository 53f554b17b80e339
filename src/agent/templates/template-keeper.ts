import { instanceId, serviceId } from '../../api/v1alpha1/names.ts';
import {
  parseTemplate,
  renderTemplate,
  type ParsedTemplate,
} from '../../api/v1alpha1/template-text.ts';
import type { DeliveredTemplate } from '../../api/v1alpha1/template-spec.ts';
import type { InstanceKey } from '../../registry/records/index.ts';
import { Backoff } from '../../runtime/backoff.ts';
import { sleep, type Clock } from '../../runtime/clock.ts';
import type { Logger } from '../../telemetry/log.ts';
import { isAborted } from '../../runtime/aborted.ts';
import type { DesiredInstance } from '../desired.ts';
import type { CreateRequest, Engine } from '../docker/engine.ts';
import { nameOf, type FilesOf } from '../files/file-store.ts';
import type { OwnedContainer } from '../ownership.ts';
import { Semaphore } from '../semaphore.ts';
import { EndpointView, type Feed } from './endpoint-view.ts';
import { applyTemplate, readTarget } from './apply-template.ts';
import type { ApplyDeps, Job } from './template-job.ts';
import { TemplateTrouble } from './template-trouble.ts';
import { templateData, watchedService, type HostFacts } from './template-data.ts';
import {
  volumeOf,
  type Definitions,
  type PlacedTemplate,
  type TemplateStore,
} from './template-store.ts';

/** A change is acted upon when nothing more has come for so long … */
const quietMs = 200;
/** … and at the latest after this. */
const longestQuietMs = 2000;
/** Rendering is the agent's own time: it takes no more than a third of it. */
const pausePerRendering = 2;
/** Files are compared with what they should say at least this often. */
const fullPassMs = 60_000;
const parallelJobs = 4;
/** What is forgotten is looked up again. */
const mostWithout = 10_000;

export interface TemplateKeeperDeps {
  readonly host: HostFacts;
  readonly feed: Feed;
  readonly store: TemplateStore;
  readonly engine: Pick<
    Engine,
    'runOnce' | 'removeLeftOvers' | 'volumeDirectory' | 'signal' | 'exec'
  >;
  /** All containers of this host's instances. */
  readonly containers: () => Iterable<OwnedContainer>;
  /** Looks at a container again, so that `containers` is as new as the call. */
  readonly refresh: (containerId: string) => Promise<void>;
  /** The overlay network; undefined while there is none. */
  readonly network: () => CreateRequest['network'] | undefined;
  /** Config files and variables of an instance's container. */
  readonly delivered: (desired: DesiredInstance) => Promise<CreateRequest['delivered']>;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  /** Told when what `observe` says of the instance has changed. */
  readonly onChange: (id: string, key: InstanceKey) => void;
}

/** Why a file does not say what it should. `reason` is a CamelCase word. */
export interface Trouble {
  readonly reason: string;
  readonly message: string;
}

/** The templates of one container. */
interface Cell {
  readonly of: FilesOf;
  readonly id: string;
  readonly key: InstanceKey;
  desired: DesiredInstance | undefined;
  definitions: Definitions;
  parsed: readonly ParsedTemplate[];
  /** Indexes of files that are to be written whatever they say: their owner or mode has changed. */
  readonly rewrite: Set<number>;
  readonly stop: AbortController;
  troubles: ReadonlyMap<number, Trouble>;
  backoff: Backoff;
  /** Ends the pause before the next pass. */
  cancelTimer: (() => void) | undefined;
  /** When the first change came that no pass has seen, monotonic. */
  changedAt: number | undefined;
  lastPass: number;
  pass: Promise<void> | undefined;
}

/**
 * Keeps files equal to what their templates say of the services that they watch. A pass renders all templates of a
 * container, has what differs judged, swaps it in, and tells who reads it; what fails keeps the last good file, is shown, and is
 * tried again, slower and slower, or at once when something has changed.
 *
 * Before the feed has been read once nothing is rendered, and what the registry does not tell any more (because it is
 * away) stays as it was: the feed keeps it.
 */
export class TemplateKeeper {
  readonly #deps: TemplateKeeperDeps;
  readonly #startedAt: number;
  /** Containers for which no templates were delivered: not looked for again. */
  readonly #without = new Set<string>();
  readonly #view: EndpointView;
  readonly #cells = new Map<string, Cell>();
  readonly #watchers = new Map<string, Set<Cell>>();
  readonly #waiting = new Set<() => void>();
  readonly #renders = new Semaphore(1);
  readonly #jobs = new Semaphore(parallelJobs);

  constructor(deps: TemplateKeeperDeps) {
    this.#deps = deps;
    this.#startedAt = deps.clock.now();
    this.#view = new EndpointView(deps.feed, deps.clock, (services) => {
      this.#servicesChanged(services);
    });
  }

  /** Removes what a predecessor has left behind; then waits for `signal` and ends what is under way. */
  async run(signal: AbortSignal): Promise<void> {
    const { engine, host, clock } = this.#deps;
    while (!isAborted(signal)) {
      const left = await engine.removeLeftOvers(host.name, this.#startedAt, signal).then(
        () => false,
        () => true,
      );
      await sleep(clock, left ? 5000 : 3_600_000, signal).catch(() => undefined);
    }
    for (const cell of this.#cells.values()) this.#forget(cell);
  }

  /** Takes note of an instance's containers; tells what is wrong with the files of the one that is wanted. */
  observe(
    id: string,
    key: InstanceKey,
    desired: DesiredInstance | undefined,
    containers: readonly OwnedContainer[],
  ): Trouble | undefined {
    const templates = desired?.placement.container.templates;
    if (templates === undefined && this.#cells.size === 0 && containers.length === 0)
      return undefined;
    const own =
      templates === undefined || desired === undefined
        ? undefined
        : this.#cell(id, key, filesOf(desired));
    if (own !== undefined && desired !== undefined) own.desired = desired;
    // What is to be replaced is kept up until there is something to replace it.
    const current = new Set(own === undefined ? [] : [nameOf(own.of)]);
    if (own === undefined) {
      for (const { placementId, specHash } of containers) {
        const of = { placementId, specHash };
        if (this.#cell(id, key, of) !== undefined) current.add(nameOf(of));
      }
    }
    for (const [name, cell] of this.#cells) {
      if (cell.id === id && !current.has(name)) this.#forget(cell);
    }
    if (own === undefined) return undefined;
    if (this.#deps.clock.monotonic() - own.lastPass > fullPassMs) this.#changed(own);
    return [...own.troubles].sort(([a], [b]) => a - b)[0]?.[1];
  }

  /** Whether the files of a container stand, and are made from what was delivered under this hash. */
  ready(desired: DesiredInstance, hash: string): boolean {
    const of = filesOf(desired);
    const definitions =
      this.#cells.get(nameOf(of))?.definitions ?? this.#deps.store.definitions(of);
    return definitions?.hash === hash && this.#deps.store.complete(of, definitions.templates);
  }

  /** What is to be mounted. */
  mounts(desired: DesiredInstance): NonNullable<CreateRequest['delivered']>['files'] {
    const of = filesOf(desired);
    return this.#deps.store.mounts(of, this.#deps.store.definitions(of)?.templates ?? []);
  }

  async sweep(keep: Iterable<FilesOf>): Promise<void> {
    await this.#deps.store.sweep(keep);
  }

  /**
   * Takes templates that were delivered. For a container that does not run, waits until it may be started: until each watched
   * service has as many ready instances as are asked for, and every file stands.
   * @param running whether a container has the files
   * @throws {TemplateTrouble} when a file cannot be made
   */
  async adopt(
    key: InstanceKey,
    desired: DesiredInstance,
    bundle: { readonly hash: string; readonly templates: readonly DeliveredTemplate[] },
    running: boolean,
    show: (message: string) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const of = filesOf(desired);
    const id = instanceId(key);
    const { mounts } = desired.placement.container;
    const templates = bundle.templates.map((template): PlacedTemplate => {
      const volume = volumeOf(template.target, mounts);
      return volume === undefined ? template : { ...template, volume };
    });
    const before = this.#cells.get(nameOf(of));
    // One that is about its old templates is not disturbed.
    await before?.pass?.catch(() => undefined);
    await this.#deps.store.define(of, { hash: bundle.hash, templates });
    const cell = this.#redefine(id, key, of, { hash: bundle.hash, templates });
    cell.desired = desired;
    if (running) {
      this.#changed(cell);
      return;
    }
    for (;;) {
      const lack = this.#lack(cell);
      if (lack === undefined) break;
      show(lack);
      await this.#nextChange(signal);
    }
    await this.#pass(cell, signal);
    signal.throwIfAborted();
    for (const [index, trouble] of cell.troubles) {
      if (await this.#stands(cell, index)) continue;
      throw new TemplateTrouble(trouble.reason, trouble.message);
    }
  }

  /** What a container has to wait for before its first start. */
  #lack({ definitions, key }: Cell): string | undefined {
    if (!this.#view.synced) return 'templates wait for the registry to be read';
    for (const { watch, waitFor } of definitions.templates) {
      for (const watched of watch) {
        const { size } = this.#view.of(watchedService(key, watched));
        if (size >= waitFor) continue;
        return `waits for ${String(waitFor)} ready instances of ${watched.service}: there are ${String(size)}`;
      }
    }
    return undefined;
  }

  #nextChange(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const waiting = this.#waiting;
      const abort = (): void => {
        waiting.delete(done);
        reject(signal.reason instanceof Error ? signal.reason : new Error('aborted'));
      };
      function done(): void {
        waiting.delete(done);
        signal.removeEventListener('abort', abort);
        resolve();
      }
      if (signal.aborted) {
        abort();
        return;
      }
      signal.addEventListener('abort', abort, { once: true });
      waiting.add(done);
    });
  }

  /** Whether there is a file, if only an older one. */
  async #stands(cell: Cell, index: number): Promise<boolean> {
    const template = cell.definitions.templates[index];
    if (template === undefined) return true;
    try {
      return (await this.#job(cell, index, template).read()) !== undefined;
    } catch {
      return false;
    }
  }

  #servicesChanged(services: ReadonlySet<string>): void {
    for (const done of [...this.#waiting]) done();
    if (services.size === 0) {
      for (const cell of this.#cells.values()) this.#changed(cell);
      return;
    }
    for (const service of services) {
      for (const cell of this.#watchers.get(service) ?? []) this.#changed(cell);
    }
  }

  /** Has a pass made soon: when changes have ceased for a moment, or have gone on for too long. */
  #changed(cell: Cell): void {
    if (!this.#view.synced || cell.stop.signal.aborted) return;
    const now = this.#deps.clock.monotonic();
    cell.changedAt ??= now;
    if (cell.pass !== undefined) return;
    this.#schedule(cell, Math.min(quietMs, cell.changedAt + longestQuietMs - now));
  }

  #schedule(cell: Cell, delayMs: number): void {
    cell.cancelTimer?.();
    cell.cancelTimer = this.#deps.clock.schedule(
      () => {
        cell.cancelTimer = undefined;
        void this.#pass(cell, cell.stop.signal).catch(() => undefined);
      },
      Math.max(0, delayMs),
    );
  }

  /** Brings all files of a container up to date. One at a time for each. */
  #pass(cell: Cell, signal: AbortSignal): Promise<void> {
    if (cell.pass !== undefined) return cell.pass;
    cell.cancelTimer?.();
    cell.cancelTimer = undefined;
    cell.changedAt = undefined;
    const pass = this.#work(cell, signal).finally(() => {
      cell.pass = undefined;
      if (cell.stop.signal.aborted) return;
      if (cell.changedAt !== undefined) this.#changed(cell);
      else if (cell.troubles.size > 0) this.#schedule(cell, cell.backoff.delayMs);
    });
    cell.pass = pass;
    return pass;
  }

  async #work(cell: Cell, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#deps;
    const troubles = new Map<number, Trouble>();
    cell.lastPass = clock.monotonic();
    for (const [index, template] of cell.definitions.templates.entries()) {
      try {
        await this.#jobs.run(async () => {
          const rewrite = cell.rewrite.has(index);
          await applyTemplate(this.#job(cell, index, template), rewrite, this.#apply, signal);
          cell.rewrite.delete(index);
        }, signal);
      } catch (error) {
        if (isAborted(signal) || isAborted(cell.stop.signal)) return;
        const reason = error instanceof TemplateTrouble ? error.reason : 'TemplateFailed';
        const message = error instanceof Error ? error.message : String(error);
        troubles.set(index, { reason, message: `${template.target}: ${message}` });
      }
    }
    const before = JSON.stringify([...cell.troubles]);
    cell.troubles = troubles;
    cell.backoff = troubles.size === 0 ? cell.backoff.reset() : cell.backoff.next();
    if (before === JSON.stringify([...troubles])) return;
    for (const trouble of troubles.values())
      log.warn({ instance: cell.id, ...trouble }, 'template not applied');
    this.#deps.onChange(cell.id, cell.key);
  }

  get #apply(): ApplyDeps {
    const { store, engine, clock, refresh } = this.#deps;
    return { store, engine, clock, refresh };
  }

  #job(cell: Cell, index: number, template: PlacedTemplate): Job {
    const { engine, store, containers } = this.#deps;
    return {
      of: cell.of,
      index,
      template,
      render: () => this.#render(cell, index, template),
      read: () => readTarget(engine, store, cell.of, index, template),
      // The container that reads it, and those that are to be told.
      own: () =>
        [...containers()].find((c) => c.state === 'running' && nameOf(c) === nameOf(cell.of)),
      told: () => {
        const service = template.reload?.service;
        return [...containers()].filter((c) =>
          service === undefined
            ? nameOf(c) === nameOf(cell.of)
            : c.key.service === service &&
              c.key.project === cell.key.project &&
              c.key.namespace === cell.key.namespace,
        );
      },
      request: () => this.#request(cell),
    };
  }

  /** What a container for a check is made from: as the instance's own. */
  async #request(cell: Cell): Promise<CreateRequest | undefined> {
    const { host, network: current, delivered, store } = this.#deps;
    const [network, { desired }] = [current(), cell];
    if (network === undefined || desired === undefined) return undefined;
    const configs = await delivered(desired);
    const files = [];
    for (const [index, template] of cell.definitions.templates.entries()) {
      if (template.volume !== undefined || (await store.read(cell.of, index)) === undefined)
        continue;
      files.push(
        ...store
          .mounts(cell.of, cell.definitions.templates)
          .filter((f) => f.target === template.target),
      );
    }
    return {
      key: cell.key,
      host: host.name,
      placementId: desired.id,
      specHash: desired.specHash,
      container: desired.placement.container,
      network,
      delivered: {
        files: [...(configs?.files ?? []), ...files],
        environment: configs?.environment ?? {},
      },
    };
  }

  #render(cell: Cell, index: number, template: PlacedTemplate): Promise<Buffer> {
    const { clock, host } = this.#deps;
    return this.#renders.run(async () => {
      const parsed = cell.parsed[index] ?? [];
      const startedAt = clock.monotonic();
      try {
        const data = templateData(cell.key, host, template, (service) => this.#view.of(service));
        return Buffer.from(await renderTemplate(parsed, data, breathe));
      } finally {
        const tookMs = clock.monotonic() - startedAt;
        if (tookMs > 5) await sleep(clock, tookMs * pausePerRendering);
      }
    }, cell.stop.signal);
  }

  /** The cell of a container, if templates were delivered for it. */
  #cell(id: string, key: InstanceKey, of: FilesOf): Cell | undefined {
    const known = this.#cells.get(nameOf(of));
    if (known !== undefined) return known;
    if (this.#without.has(nameOf(of))) return undefined;
    const definitions = this.#deps.store.definitions(of);
    if (definitions === undefined) {
      if (this.#without.size >= mostWithout) this.#without.clear();
      this.#without.add(nameOf(of));
      return undefined;
    }
    const cell = this.#redefine(id, key, of, definitions);
    this.#changed(cell);
    return cell;
  }

  #redefine(id: string, key: InstanceKey, of: FilesOf, definitions: Definitions): Cell {
    const before = this.#cells.get(nameOf(of));
    const parsed = definitions.templates.map(({ text }) => parseTemplate(text));
    if (before !== undefined) {
      for (const [index, { mode, uid, gid }] of definitions.templates.entries()) {
        const old = before.definitions.templates[index];
        if (old?.mode !== mode || old.uid !== uid || old.gid !== gid) before.rewrite.add(index);
      }
      this.#watch(before, false);
      before.definitions = definitions;
      before.parsed = parsed;
      this.#watch(before, true);
      return before;
    }
    const { random, clock } = this.#deps;
    const cell: Cell = {
      of,
      id,
      key,
      desired: undefined,
      definitions,
      parsed,
      rewrite: new Set(),
      stop: new AbortController(),
      troubles: new Map(),
      backoff: new Backoff({ baseMs: 2000, capMs: 60_000, random: () => 0.5 + random() / 2 }),
      cancelTimer: undefined,
      changedAt: undefined,
      lastPass: clock.monotonic(),
      pass: undefined,
    };
    this.#cells.set(nameOf(of), cell);
    this.#without.delete(nameOf(of));
    this.#watch(cell, true);
    return cell;
  }

  #watch(cell: Cell, on: boolean): void {
    for (const { watch } of cell.definitions.templates) {
      for (const watched of watch) {
        const service = serviceId(watchedService(cell.key, watched));
        const cells = this.#watchers.get(service) ?? new Set();
        if (on) this.#watchers.set(service, cells.add(cell));
        else if (cells.delete(cell) && cells.size === 0) this.#watchers.delete(service);
      }
    }
  }

  #forget(cell: Cell): void {
    cell.stop.abort();
    cell.cancelTimer?.();
    this.#watch(cell, false);
    this.#cells.delete(nameOf(cell.of));
  }
}

function filesOf(desired: DesiredInstance): FilesOf {
  return { placementId: desired.id, specHash: desired.specHash };
}

/** Lets everything else have its turn. */
function breathe(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
