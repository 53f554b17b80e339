import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import {
  box,
  cleansUp,
  containers,
  expectExactly,
  holds,
  hostIs,
  hosts,
  idsByInstance,
  instances,
  kubectl,
  project,
  resolve,
  returnMs,
  settles,
  type HostName,
} from './harness.ts';

const wanted = { web: 3, worker: 4, db: 1 };
/** The first host is away for as long as a bad switch takes to be replaced, the others for as long as it takes to be given up. */
const cutMs: Readonly<Record<HostName, number>> = { h1: 60_000, h2: 15_000, h3: 15_000 };

const survivors = (lost: HostName): HostName[] => hosts.filter((host) => host !== lost);

async function allReady(within = 60): Promise<void> {
  await kubectl.wait('project/loss', 'Ready', within);
}

/** Everything runs on `on` alone, and its names resolve there to where it is now. */
async function runsOn(on: readonly HostName[]): Promise<void> {
  await expectExactly('loss', wanted, on);
  const running = await containers('loss', { on });
  for (const service of Object.keys(wanted)) {
    const listed = await instances(`loss-${service}`);
    expect(listed.map((i) => i.ready)).toEqual(listed.map(() => true));
    for (const instance of listed) expect(on).toContain(instance.host);
    const addresses = listed.map((i) => i.ip).sort();
    for (const host of on) {
      const from = running.find((c) => c.host === host)!;
      expect(await resolve(from, `tasks.${service}`), `${service} as ${host} sees it`).toEqual(
        addresses,
      );
    }
  }
}

describe('the loss of a host', () => {
  cleansUp('loss');

  beforeAll(async () => {
    await kubectl.apply(project('loss', { web: { replicas: 3 }, worker: { replicas: 4 }, db: {} }));
    await allReady();
    await expectExactly('loss', wanted);
  });

  afterEach(async () => {
    for (const host of hosts) {
      await box.boot(host);
      await box.heal(host);
    }
  });

  for (const host of hosts) {
    const others = survivors(host);

    test(`${host} loses power: all is Ready on the others; it comes back without duplicates`, async () => {
      const before = idsByInstance(await containers('loss', { on: others }));
      const since = performance.now();
      await box.kill(host);
      await hostIs(host, 'Lost');
      await allReady();
      console.log(
        `${host} without power: all Ready again after ${((performance.now() - since) / 1000).toFixed(1)} s`,
      );
      await settles('all runs elsewhere', () => runsOn(others), 20_000);
      const after = idsByInstance(await containers('loss', { on: others }));
      expect(after, 'survivors are left alone').toMatchObject(before);

      await box.boot(host);
      await hostIs(host, 'Ready');
      // What its engine started again by itself is not its own any more.
      await settles('no duplicates', () => expectExactly('loss', wanted), returnMs);
      expect(idsByInstance(await containers('loss'))).toEqual(after);
      await allReady();
    });

    test(`${host} loses its network: it keeps what it has, until it is back`, async () => {
      // So that the host has something to lose.
      await kubectl.run('scale', 'napsvc', 'loss-worker', '--replicas=0');
      await settles('no workers', () => expectExactly('loss', { ...wanted, worker: 0 }));
      await kubectl.run('scale', 'napsvc', 'loss-worker', '--replicas=4');
      await kubectl.wait('napsvc/loss-worker');
      await allReady();
      const there = idsByInstance(await containers('loss', { on: [host] }));
      const elsewhere = idsByInstance(await containers('loss', { on: others }));
      expect(Object.keys(there).length).toBeGreaterThan(0);

      const since = performance.now();
      await box.cut(host);
      try {
        await hostIs(host, 'Lost');
        await allReady();
        await settles('all runs elsewhere', () => runsOn(others), 20_000);
        await holds(
          async () => {
            expect(idsByInstance(await containers('loss', { on: [host] }))).toEqual(there);
          },
          Math.max(0, cutMs[host] - (performance.now() - since)),
        );
      } finally {
        await box.heal(host);
      }
      await settles('no duplicates', () => expectExactly('loss', wanted), returnMs);
      await hostIs(host, 'Ready');
      await allReady();
      const now = idsByInstance(await containers('loss'));
      expect(now, 'nothing healthy was stopped').toMatchObject(elsewhere);
    });
  }
});
