import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { Licence, type LicenceNote } from '../../../src/agent/licence.ts';
import { MemoryDatabase } from '../../../src/registry/memory/database.ts';
import { MemoryStore } from '../../../src/registry/memory/store.ts';
import type { Lease } from '../../../src/registry/store.ts';
import { fenceOf } from '../../../src/controllers/host/fence.ts';
import { HostHealth } from '../../../src/controllers/host/health.ts';

const ttlMs = 5_000;
const marginMs = 10_000;
const hostKey = '/nap/v1/hosts/h1';

/** A host that may be cut off, and whose agent may be killed and comes back, as the agent lives by its licence. */
class FencedHost {
  readonly store: MemoryStore;
  running = true;
  #lease: Lease | undefined;
  #licence!: Licence;
  #noted: number | undefined;
  #agentLives = true;
  #stopsAt: number | undefined;
  readonly #clock: VirtualClock;
  readonly #stopTakesMs: number;

  constructor(database: MemoryDatabase, clock: VirtualClock, stopTakesMs: number) {
    this.store = new MemoryStore({ database, clock });
    this.#clock = clock;
    this.#stopTakesMs = stopTakesMs;
  }

  async start(): Promise<void> {
    this.#agentLives = true;
    const clock = this.#clock;
    const note: LicenceNote = {
      read: () => Promise.resolve(this.#noted),
      write: (until) => {
        this.#noted = until;
        return Promise.resolve();
      },
    };
    this.#licence = new Licence({
      remainingMs: () => this.#lease?.remainingMs() ?? 0,
      sinceBootMs: () => clock.monotonic(),
      note,
      onEnd: () => undefined,
      schedule: (callback, delayMs) => clock.schedule(callback, delayMs),
    });
    await this.#licence.carryOver();
  }

  killAgent(): void {
    this.#agentLives = false;
    this.#lease?.abandon();
    this.#lease = undefined;
  }

  /** What the agent does all the time. */
  async step(placedHere: boolean, connected: boolean): Promise<void> {
    const now = this.#clock.monotonic();
    if (this.#stopsAt !== undefined && now >= this.#stopsAt) {
      this.running = false;
      this.#stopsAt = undefined;
    }
    if (!this.#agentLives) return;
    if (this.#lease?.lost.aborted) this.#lease = undefined;
    if (this.#lease === undefined && connected) {
      this.#lease = await this.store.grantLease(ttlMs);
      await this.store.commit(
        [],
        [{ type: 'put', key: hostKey, value: 'h1', lease: this.#lease.id }],
      );
    }
    await this.#licence.note();
    if (this.running && (!this.#licence.held() || (connected && !placedHere))) {
      this.#stopsAt ??= now + this.#stopTakesMs;
    }
  }
}

describe('fencing', () => {
  it('never lets two run at one time, whenever the host is cut off and its agent dies', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          cutAt: fc.integer({ min: 0, max: 12_000 }),
          healsAfter: fc.integer({ min: 500, max: 40_000 }),
          graceMs: fc.integer({ min: 0, max: 10_000 }),
          killedAt: fc.option(fc.integer({ min: 0, max: 20_000 })),
          agentBackAfter: fc.integer({ min: 200, max: 6_000 }),
          operatorSince: fc.integer({ min: 0, max: 25_000 }),
        }),
        async ({ cutAt, healsAfter, graceMs, killedAt, agentBackAfter, operatorSince }) => {
          const clock = new VirtualClock();
          const database = new MemoryDatabase();
          const host = new FencedHost(database, clock, graceMs);
          await host.start();
          const health = new HostHealth({ ttlMs });
          let replaced = false;
          let isDead = false;
          const stepMs = 200;
          for (let now = 0; now < 60_000; now += stepMs) {
            const connected = now < cutAt || now >= cutAt + healsAfter;
            if (!connected) host.store.disconnect();
            else host.store.reconnect();
            if (killedAt !== null && now >= killedAt && now < killedAt + agentBackAfter) {
              if (!isDead) host.killAgent();
              isDead = true;
            } else if (isDead) {
              await host.start();
              isDead = false;
            }
            await host.step(!replaced, connected);
            if (now >= operatorSince) {
              const isThere = database.get(hostKey) !== undefined;
              if (isThere) health.present('h1');
              else health.absent('h1', now);
              health.registryHealthy(now);
              const isLost = health.standing('h1', now) === 'lost';
              if (isLost && fenceOf(health, 'h1', graceMs + marginMs, true, now) === undefined) {
                replaced = true;
              }
            }
            if (replaced) expect(host.running).toBe(false);
            await clock.advance(stepMs);
          }
        },
      ),
      { numRuns: 25 },
    );
  }, 60_000);

  it('waits for a host that may still come back, and for one that somebody has to speak for', () => {
    const health = new HostHealth({ ttlMs });
    health.registryHealthy(0);
    health.present('h1');
    const at = (now: number, isKnown = true) => fenceOf(health, 'h1', 15_000, isKnown, now);
    expect(at(10_000)).toBeUndefined();
    health.absent('h1', 20_000);
    expect(at(20_000)?.why).toContain('is lost');
    expect(at(20_000)?.endsInMs).toBe(15_000);
    expect(at(34_999)?.endsInMs).toBe(1);
    expect(at(35_000)).toBeUndefined();

    health.present('h1');
    health.grace('h1', 60_000, 40_000);
    health.absent('h1', 40_000);
    expect(at(50_000)?.why).toContain('not given up yet');
    expect(at(200_000)?.why).toContain('stopped on purpose');
    expect(at(200_000)?.endsInMs).toBeUndefined();
    expect(at(400_000, false)).toBeUndefined();
  });

  it('that is open when etcd is away does not end', () => {
    const health = new HostHealth({ ttlMs });
    health.registryHealthy(0);
    health.present('h1');
    health.registryUnhealthy();
    health.absent('h1', 10_000);
    expect(fenceOf(health, 'h1', 15_000, true, 700_000)?.why).toContain('not given up yet');
  });
});
