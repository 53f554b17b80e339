import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { KubeClient } from '../../../src/kube/client.ts';
import { KubeConfig } from '../../../src/kube/config.ts';
import { LeaseElector } from '../../../src/kube/lease-elector.ts';
import { silentLogger } from '../../../src/telemetry/log.ts';
import { eventually } from '../../support/eventually.ts';
import { FakeKube } from '../../support/fake-kube.ts';
import { TcpProxy } from '../../support/tcp-proxy.ts';

const path = '/apis/coordination.k8s.io/v1/namespaces/nap/leases/operator';
const times = { leaseDurationMs: 900, renewDeadlineMs: 600, retryPeriodMs: 100 };

interface Candidate {
  readonly name: string;
  readonly elector: LeaseElector;
  readonly stop: AbortController;
  readonly proxy: TcpProxy;
  readonly config: KubeConfig;
  ended: Promise<void>;
}

let fake: FakeKube;
let candidates: Candidate[];
/** What happened, in order: "a leads", "a stops". */
let story: string[];

beforeEach(async () => {
  fake = await FakeKube.start();
  candidates = [];
  story = [];
});

afterEach(async () => {
  for (const { stop, ended, config, proxy } of candidates) {
    stop.abort(new Error('test over'));
    await ended.catch(() => undefined);
    await config.close();
    await proxy.close();
  }
  await fake.stop();
});

/** A candidate with a connection of its own. */
async function contend(
  name: string,
  lead?: (leading: AbortSignal) => Promise<void>,
): Promise<Candidate> {
  const proxy = await TcpProxy.start('127.0.0.1', fake.port);
  const config = KubeConfig.fromString(fake.kubeconfig(proxy.port), { insecureLoopback: true });
  const elector = new LeaseElector(new KubeClient(config, { timeoutMs: 5_000 }), {
    namespace: 'nap',
    name: 'operator',
    identity: name,
    log: silentLogger,
    ...times,
  });
  const stop = new AbortController();
  const follow = async (leading: AbortSignal): Promise<void> => {
    story.push(`${name} leads`);
    await new Promise<void>((resolve) => {
      leading.addEventListener('abort', () => {
        resolve();
      });
    });
    story.push(`${name} stops`);
  };
  const candidate = {
    name,
    elector,
    stop,
    proxy,
    config,
    ended: elector.run(lead ?? follow, stop.signal),
  };
  candidate.ended.catch(() => undefined);
  candidates.push(candidate);
  return candidate;
}

const holder = (): unknown =>
  (fake.read(path)?.['spec'] as Record<string, unknown>)['holderIdentity'];

describe('LeaseElector', () => {
  it('makes the lease with times that a real server takes, and renews it', async () => {
    const { elector } = await contend('a');
    await eventually('leadership', () => elector.isLeader);
    const first = fake.read(path)!;
    expect(first['spec']).toMatchObject({ holderIdentity: 'a', leaseDurationSeconds: 1 });
    await eventually('a renewal', () => {
      const now = fake.read(path)!.metadata.resourceVersion;
      return now !== first.metadata.resourceVersion;
    });
    expect(fake.requestsOf('POST')).toHaveLength(1);
  });

  it('lets exactly one of several lead', async () => {
    await Promise.all(['a', 'b', 'c', 'd'].map((name) => contend(name)));
    await eventually('a leader', () => story.length > 0);
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(story).toHaveLength(1);
    const leader = candidates.find(({ elector }) => elector.isLeader)!;
    expect(holder()).toBe(leader.name);
    expect(candidates.map(({ elector }) => elector.leader)).toEqual(Array(4).fill(leader.name));
  });

  it('hands over at once when the leader stops in good order', async () => {
    const a = await contend('a');
    await eventually('a leads', () => a.elector.isLeader);
    const b = await contend('b');
    const stoppedAt = performance.now();
    a.stop.abort(new Error('bye'));
    await a.ended;
    await eventually('b leads', () => b.elector.isLeader);
    expect(performance.now() - stoppedAt).toBeLessThan(times.leaseDurationMs / 2);
    expect(story).toEqual(['a leads', 'a stops', 'b leads']);
    const transitions = (fake.read(path)!['spec'] as Record<string, unknown>)['leaseTransitions'];
    expect(transitions).toBe(1);
  });

  it('stops a leader that is cut off before anybody else leads', async () => {
    const a = await contend('a');
    await eventually('a leads', () => a.elector.isLeader);
    await contend('b');
    a.proxy.stall();
    await eventually('b leads', () => story.includes('b leads'));
    expect(story).toEqual(['a leads', 'a stops', 'b leads']);
    expect(a.elector.isLeader).toBe(false);
    a.proxy.resume();
    await eventually('a knows', () => a.elector.leader === 'b');
    expect(story).toHaveLength(3);
  });

  it('keeps the leader through an outage that is shorter than the renew deadline', async () => {
    const a = await contend('a');
    await eventually('a leads', () => a.elector.isLeader);
    await fake.stop();
    await new Promise((resolve) => setTimeout(resolve, 250));
    await fake.listen();
    const before = fake.read(path)!.metadata.resourceVersion;
    await eventually('a renewal', () => fake.read(path)!.metadata.resourceVersion !== before);
    expect(story).toEqual(['a leads']);
  });

  it('is not fooled by clocks: waits a full lease duration of its own', async () => {
    const long = '2001-01-01T00:00:00.000000Z';
    fake.put(path, {
      spec: { holderIdentity: 'old', leaseDurationSeconds: 1, renewTime: long, acquireTime: long },
    });
    const startedAt = performance.now();
    const a = await contend('a');
    await eventually('a leads', () => a.elector.isLeader);
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(times.leaseDurationMs);
  });

  it('gives way when somebody else has taken the lease', async () => {
    const a = await contend('a');
    await eventually('a leads', () => a.elector.isLeader);
    const now = '2026-01-01T00:00:00.000000Z';
    fake.put(path, { spec: { holderIdentity: 'thief', renewTime: now, acquireTime: now } });
    await eventually('a stops', () => story.includes('a stops'));
    expect(holder()).toBe('thief');
  });

  it('gives the lease back when leading fails', async () => {
    const a = await contend('a', () => Promise.reject(new Error('no etcd')));
    await expect(a.ended).rejects.toThrow('no etcd');
    expect(holder()).toBe('');
  });

  it('refuses times that could make two leaders', async () => {
    const { config } = await contend('a');
    const make = (wrong: Partial<typeof times>) =>
      new LeaseElector(new KubeClient(config), {
        namespace: 'nap',
        name: 'x',
        identity: 'x',
        log: silentLogger,
        ...times,
        ...wrong,
      });
    expect(() => make({ leaseDurationMs: 600 })).toThrow(RangeError);
    expect(() => make({ retryPeriodMs: 550 })).toThrow(RangeError);
  });
});
