import type { ServerResponse } from 'node:http';
import type { Logger } from '../../telemetry/log.ts';
import { deferred } from '../deferred.ts';

/** How many live events may wait for a client that does not read. Then it is cut off and has to list again. */
const maxWaiting = 1000;

/**
 * Writes watch events to one client. What waits for a slow one is bounded: entries are small closures that
 * refer to objects the cache shares, and beyond `maxWaiting` the connection is closed.
 */
export class WatchStream {
  readonly #response: ServerResponse;
  readonly #log: Logger;
  readonly #ended = deferred<undefined>();
  readonly #onEnd: (() => void)[] = [];
  #queue: (() => unknown)[] = [];
  #next = 0;
  #bound = Number.POSITIVE_INFINITY;
  #blocked = false;
  #ending = false;
  #closed = false;

  constructor(response: ServerResponse, log: Logger) {
    this.#response = response;
    this.#log = log;
    response.on('drain', () => {
      this.#blocked = false;
      this.#pump();
    });
    response.on('close', () => {
      this.#close();
    });
    response.on('error', () => {
      this.#close();
    });
    response.writeHead(200, {
      'content-type': 'application/json',
      'cache-control': 'no-cache, private',
    });
    // Clients wait for the headers before they read on; the first event may be far away.
    response.flushHeaders();
    if (response.destroyed) this.#close();
  }

  /** Resolves when nothing more will be written. */
  get ended(): Promise<undefined> {
    return this.#ended.promise;
  }

  /** Calls `callback` once at the end, at once if it has come already. */
  onEnd(callback: () => void): void {
    if (this.#closed) callback();
    else this.#onEnd.push(callback);
  }

  /** From now on at most `maxWaiting` events more than are waiting now may wait. */
  live(): void {
    this.#bound = this.#queue.length - this.#next + maxWaiting;
  }

  /** Queues an event; `make` is called when there is room to write it. */
  send(make: () => unknown): void {
    if (this.#closed || this.#ending) return;
    this.#queue.push(make);
    this.#pump();
    if (this.#queue.length - this.#next > this.#bound) {
      this.#log.warn('a watcher does not read its events; its connection is closed');
      this.#response.destroy();
      this.#close();
    }
  }

  /** Ends the response. A client that is behind is cut off instead: it resumes from what it has seen. */
  end(): void {
    this.#ending = true;
    this.#pump();
    if (!this.#closed) {
      this.#response.destroy();
      this.#close();
    }
  }

  #pump(): void {
    while (!this.#closed && !this.#blocked && this.#next < this.#queue.length) {
      const make = this.#queue[this.#next++];
      if (make === undefined) break;
      this.#blocked = !this.#response.write(`${JSON.stringify(make())}\n`);
    }
    if (this.#next === this.#queue.length) {
      this.#queue = [];
      this.#next = 0;
    } else if (this.#next > maxWaiting) {
      this.#queue = this.#queue.slice(this.#next);
      this.#next = 0;
    }
    if (this.#ending && !this.#closed && this.#queue.length === 0) {
      this.#response.end();
      this.#close();
    }
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#queue = [];
    this.#next = 0;
    for (const callback of this.#onEnd) callback();
    this.#ended.resolve(undefined);
  }
}
