import { parseMap } from '../../network/haproxy/challenges.ts';
import {
  parseServers,
  parseWorkers,
  type ServerState,
  type Worker,
} from '../../network/haproxy/servers.ts';
import { sleep, type Clock } from '../../runtime/clock.ts';
import { askMaster, RouterAwayError } from './master-cli.ts';

/** Most commands in one line: HAProxy reads 16 kB at once. */
const commandsAtOnce = 64;

/** A running HAProxy, over the socket of its master process. */
export class HaproxyControl {
  readonly #socket: string;
  readonly #clock: Clock;

  constructor(socket: string, clock: Clock) {
    this.#socket = socket;
    this.#clock = clock;
  }

  async workers(signal: AbortSignal): Promise<Worker[]> {
    return parseWorkers(await this.#ask('show proc', signal));
  }

  /** What the worker that takes connections runs, as `RouterConfig.structure` says it; undefined: something else. */
  async structure(signal: AbortSignal): Promise<string | undefined> {
    const worker = (await this.workers(signal)).find(({ current }) => current);
    if (worker === undefined) throw new RouterAwayError('the router has no process that serves');
    const info = await this.#ask(`@!${String(worker.pid)} show info`, signal);
    return /^description: nap-([0-9a-f]+)$/m.exec(info)?.[1];
  }

  /** @param backend undefined: of all. One that the worker does not know has none. */
  async servers(
    worker: Worker,
    backend: string | undefined,
    signal: AbortSignal,
  ): Promise<ServerState[]> {
    const which = backend === undefined ? '' : ` ${backend}`;
    return parseServers(
      await this.#ask(`@!${String(worker.pid)} show servers state${which}`, signal),
    );
  }

  /** A map of a worker, by the name of its file; undefined: it has none of that name. */
  async map(
    worker: Worker,
    file: string,
    signal: AbortSignal,
  ): Promise<ReadonlyMap<string, string> | undefined> {
    return parseMap(await this.#ask(`@!${String(worker.pid)} show map ${file}`, signal));
  }

  async command(worker: Worker, commands: readonly string[], signal: AbortSignal): Promise<void> {
    for (let at = 0; at < commands.length; at += commandsAtOnce) {
      const some = commands.slice(at, at + commandsAtOnce);
      const line = some.map((command) => `@!${String(worker.pid)} ${command}`).join('; ');
      await this.#ask(line, signal);
    }
  }

  /**
   * Has the configuration loaded anew: a new worker takes the listening sockets over, and the old one ends with its last
   * connection. Whether it took is told by `structure`: when the new worker could not be started the old one goes on.
   */
  async reload(signal: AbortSignal): Promise<void> {
    await this.#ask('reload', signal);
  }

  /** Waits until the router runs this structure. @returns whether it does in the end. */
  async runs(structure: string, withinMs: number, signal: AbortSignal): Promise<boolean> {
    const end = this.#clock.monotonic() + withinMs;
    for (;;) {
      // While it loads, the master's socket is away for a moment.
      const now = await this.structure(signal).catch((error: unknown) => {
        if (error instanceof RouterAwayError) return undefined;
        throw error;
      });
      if (now === structure) return true;
      if (this.#clock.monotonic() >= end) return false;
      await sleep(this.#clock, 50, signal);
    }
  }

  #ask(command: string, signal: AbortSignal): Promise<string> {
    return askMaster(this.#socket, command, this.#clock, signal);
  }
}
