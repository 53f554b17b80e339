import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MemoryStore } from '../../registry/memory/store.ts';
import { appliedRecords, drainRecords } from '../../registry/records/index.ts';
import type { Revision } from '../../registry/store.ts';
import { systemClock } from '../../runtime/clock.ts';
import { silentLogger } from '../../telemetry/log.ts';
import { DataPlane } from '../data-plane.ts';
import { Acknowledger } from './acknowledger.ts';
import { countConnections } from './open-connections.ts';
import { Senders } from './senders.ts';

const endpoint = '/services/ns/p/web/1';

/** A host that heeds each change some time after it was made. */
class Host {
  readonly feed = { revision: 0n, synced: true };
  readonly dataPlane = new DataPlane(this.feed);
  readonly #stop = new AbortController();
  readonly #part = this.dataPlane.part(() => undefined);
  readonly name: string;
  readonly #store: MemoryStore;
  readonly #delayMs: number;
  readonly #running: Promise<unknown>;
  sendsTo = true;

  constructor(name: string, store: MemoryStore, delayMs: number) {
    this.name = name;
    this.#store = store;
    this.#delayMs = delayMs;
    const publish = (revision: Revision): void => {
      const key = appliedRecords.path({ host: name });
      const value = appliedRecords.encode({ revision: String(revision) });
      void store.commit([], [{ type: 'put', key, value }]);
    };
    const { dataPlane } = this;
    const deps = { host: name, store, dataPlane, clock: systemClock, log: silentLogger, publish };
    const answers = new Acknowledger(deps).run(this.#stop.signal);
    this.#running = Promise.all([this.#follow(), answers]);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #follow(): Promise<void> {
    for await (const batch of this.#store.watch('/services/', {}, this.#stop.signal)) {
      const { revision } = batch;
      const present = await this.#store.get(endpoint);
      await new Promise((resolve) => setTimeout(resolve, this.#delayMs));
      // The rules first, then the word.
      if (present === undefined) this.sendsTo = false;
      this.feed.revision = revision;
      this.#part.applied(revision);
    }
  }
}

describe('the hosts that may send to an instance', () => {
  it('have all stopped when it is told so, however slow each is', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 0, max: 60 }), { minLength: 1, maxLength: 5 }),
        async (delays) => {
          const store = new MemoryStore();
          await store.commit([], [{ type: 'put', key: endpoint, value: '{}' }]);
          const hosts = delays.map((delay, i) => new Host(`h${i}`, store, delay));
          const own = hosts[0]!;
          const asked: unknown[] = [];
          const senders = new Senders({
            host: own.name,
            store,
            dataPlane: own.dataPlane,
            clock: systemClock,
            log: silentLogger,
            ask: (note) => {
              asked.push(note);
              const key = drainRecords.path({ host: own.name });
              void store.commit(
                [],
                [
                  note === undefined
                    ? { type: 'delete', key }
                    : { type: 'put', key, value: drainRecords.encode(note) },
                ],
              );
            },
          });
          // Each has said that it is there.
          for (const { name } of hosts) {
            while ((await store.get(appliedRecords.path({ host: name }))) === undefined) {
              await new Promise((resolve) => setImmediate(resolve));
            }
          }
          const { revision } = await store.commit([], [{ type: 'delete', key: endpoint }]);
          const signal = new AbortController().signal;
          expect(await senders.heeded(revision, 20_000, signal)).toEqual([]);
          expect(hosts.filter(({ sendsTo }) => sendsTo)).toEqual([]);
          // Nothing is asked for ever.
          expect(asked.at(-1)).toBeUndefined();
          for (const host of hosts) await host.stop();
        },
      ),
      { numRuns: 15 },
    );
  }, 60_000);

  it('are named when they do not answer in time; one whose lease is gone is not waited for', async () => {
    const store = new MemoryStore();
    const dataPlane = new DataPlane({ revision: 100n, synced: true });
    const lease = await store.grantLease(60_000);
    const put = (host: string) => ({
      type: 'put' as const,
      key: appliedRecords.path({ host }),
      value: appliedRecords.encode({ revision: '1' }),
      ...(host === 'gone' ? { lease: lease.id } : {}),
    });
    await store.commit([], [put('slow'), put('gone')]);
    const senders = new Senders({
      host: 'own',
      store,
      dataPlane,
      clock: systemClock,
      log: silentLogger,
      ask: () => undefined,
    });
    const waited = senders.heeded(50n, 300, new AbortController().signal);
    await lease.release();
    expect(await waited).toEqual(['slow']);
  });
});

describe('open connections', () => {
  it('are those at ports on which somebody listens, from elsewhere', () => {
    const head = '  sl  local_address rem_address   st\n';
    const line = (n: number, local: string, remote: string, state: string): string =>
      `   ${n}: ${local} ${remote} ${state} 00000000:00000000 00:00000000 00000000 0 0 1\n`;
    const tcp =
      head +
      line(0, '00000000:0050', '00000000:0000', '0A') +
      line(1, '0203A80A:0050', '0104A80A:C350', '01') +
      line(2, '0203A80A:0050', '0104A80A:C351', '08') +
      line(3, '0203A80A:0050', '0104A80A:C352', '06') +
      line(4, '0203A80A:C000', '0504A80A:0CEA', '01') +
      line(5, '0100007F:0050', '0100007F:C353', '01');
    expect(countConnections(tcp, head)).toBe(2);
  });
});
