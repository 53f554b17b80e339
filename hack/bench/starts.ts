import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Box } from '../../test/support/box.ts';

/**
 * Watches engines for started containers, through their own event streams: the same measure for whoever starts them, and
 * no load on anybody who is being measured.
 */
export class StartWatch {
  readonly #children: ChildProcess[] = [];
  #count = 0;
  #notify: () => void = () => undefined;

  /** Begins to count on `hosts`, those with `label` if it is given; resolves when all streams are open. */
  static async open(box: Box, hosts: readonly string[], label?: string): Promise<StartWatch> {
    const watch = new StartWatch();
    for (const host of hosts) {
      const child = spawn(
        'docker',
        [
          ...['-H', `unix://${box.socket(host)}`, 'events', '--filter', 'event=start'],
          ...(label === undefined ? [] : ['--filter', `label=${label}`]),
          ...['--format', 'x'],
        ],
        { stdio: ['ignore', 'pipe', 'inherit'] },
      );
      watch.#children.push(child);
      createInterface({ input: child.stdout }).on('line', () => {
        watch.#count++;
        watch.#notify();
      });
      await once(child, 'spawn');
    }
    // The stream has no sign of being open; a moment is enough on one machine.
    await new Promise((resolve) => setTimeout(resolve, 300));
    return watch;
  }

  /** Resolves, with the monotonic time in ms, at the moment of the `count`th start. */
  async reach(count: number, withinMs: number): Promise<number> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(new Error(`${this.#count} of ${count} containers started within ${withinMs} ms`));
      }, withinMs);
      this.#notify = () => {
        if (this.#count < count) return;
        clearTimeout(timer);
        resolve(performance.now());
      };
      this.#notify();
    });
  }

  close(): void {
    for (const child of this.#children) child.kill('SIGKILL');
  }
}
