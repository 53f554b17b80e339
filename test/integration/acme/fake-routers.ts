import { createServer, type Server } from 'node:http';
import { RecordWatch } from '../../../src/registry/record-watch.ts';
import {
  acmeAnsweredRecords,
  acmeChallengeRecords,
  type AcmeChallengeRecord,
} from '../../../src/registry/records/index.ts';
import type { Store } from '../../../src/registry/store.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/telemetry/log.ts';

/** Plays the routers of some hosts, behind one address: answers challenges from the registry, and says so. */
export class FakeRouters {
  /** Whether they say that they answer, by host. */
  readonly mute = new Set<string>();
  /** Hosts of routes whose challenges are answered with 404. */
  readonly deaf = new Set<string>();
  /** Tokens that were asked for. */
  readonly asked: string[] = [];
  readonly #store: Store;
  readonly #hosts: readonly string[];
  readonly #server: Server;
  readonly #watch: RecordWatch<{ readonly token: string }, AcmeChallengeRecord>;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;

  constructor(store: Store, hosts: readonly string[]) {
    this.#store = store;
    this.#hosts = hosts;
    this.#watch = new RecordWatch(store, acmeChallengeRecords, {
      clock: systemClock,
      log: silentLogger,
      onChange: () => void this.tell(),
    });
    this.#server = createServer((request, response) => {
      const token = request.url?.split('/').at(-1) ?? '';
      this.asked.push(token);
      const record = this.#watch.get({ token })?.value;
      const host = request.headers.host?.split(':')[0];
      const known = record?.host === host && !this.deaf.has(host ?? '') ? record : undefined;
      response.writeHead(known === undefined ? 404 : 200).end(known?.keyAuthorization ?? 'nobody');
    });
  }

  async start(port: number): Promise<void> {
    this.#running = this.#watch.run(this.#stop.signal);
    await new Promise<void>((resolve) => this.#server.listen(port, '127.0.0.1', resolve));
  }

  get tokens(): string[] {
    return [...this.#watch.records.values()].map(({ key }) => key.token);
  }

  /** Says what each answers. */
  async tell(): Promise<void> {
    for (const host of this.#hosts) {
      const key = acmeAnsweredRecords.path({ host });
      const tokens = this.mute.has(host) ? [] : this.tokens;
      await this.#store.commit([], [{ type: 'put', key, value: JSON.stringify({ tokens }) }]);
    }
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
