import {
  desiredInstance,
  ownedContainer as container,
  webKey,
} from '../../test/support/instances.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { enginePauseMs, nextCrashState, settleMs } from './crash-loop.ts';
import type { DesiredInstance } from './desired.ts';
import { blankMemory, nextFailure, remember } from './memory.ts';
import type { OwnedContainer } from './ownership.ts';
import { ownedContainer } from './ownership.ts';
import type { InstanceView } from './plan.ts';
import { reportInstance, type ReportContext } from './report.ts';

const key = webKey;
const start = Date.parse('2026-01-01T00:00:00Z');
const at = (ms: number): string => new Date(start + ms).toISOString();

const desired = desiredInstance({ ports: [{ containerPort: 80, protocol: 'tcp' }] });
const once: DesiredInstance = {
  ...desired,
  placement: { ...desired.placement, container: { ...desired.placement.container, restart: 'no' } },
};

function report(view: Partial<InstanceView>, context: Partial<ReportContext> = {}) {
  return reportInstance(
    { key, desired, containers: [], memory: blankMemory, ...view },
    { host: 'h1', network: 'nap', activity: undefined, nowMs: start, ...context },
  );
}

/** The memory after seeing a container end `times` times, each after 100 ms. */
function crashed(times: number): typeof blankMemory {
  let memory = blankMemory;
  for (let n = 1; n <= times; n++) {
    const seen = {
      state: 'restarting',
      restartCount: n,
      startedAt: at(n * 1000),
      finishedAt: at(n * 1000 + 100),
    } as const;
    memory = remember(memory, container(seen));
  }
  return memory;
}

describe('the report of an instance', () => {
  it('serves as soon as it runs', () => {
    const { record, endpoint } = report({ containers: [container()] });
    expect(record).toMatchObject({ id: 'a', phase: 'Running', ready: true, ip: '10.77.1.2' });
    expect(endpoint).toEqual({
      host: 'h1',
      ipv4_addr: '10.77.1.2',
      port: 80,
      ports: [{ port: 80, protocol: 'tcp' }],
    });
  });

  it('serves at its IPv6 address, too, if that is the twin of the other', () => {
    const seen = (ipv6: string) =>
      report({ containers: [container({ ipv6Addresses: { nap: ipv6 } })] }).endpoint;
    expect(seen('fd00:77::a4d:102')).toEqual({
      host: 'h1',
      ipv4_addr: '10.77.1.2',
      ipv6_addr: 'fd00:77::a4d:102',
      port: 80,
      ports: [{ port: 80, protocol: 'tcp' }],
    });
    // One that the engine has chosen.
    expect(seen('fd00:77::a4d:103')).not.toHaveProperty('ipv6_addr');
    expect(seen('fd6e:1:2:3::2')).not.toHaveProperty('ipv6_addr');
  });

  it('has no endpoint without an address in the overlay', () => {
    const { record, endpoint } = report({ containers: [container({ addresses: {} })] });
    expect(record?.ready).toBe(false);
    expect(endpoint).toBeUndefined();
  });

  it('shows what is being done', () => {
    const activity = { phase: 'Pulling', message: 'i: 1 of 2 layers' } as const;
    expect(report({}, { activity }).record).toMatchObject({
      phase: 'Pulling',
      message: 'i: 1 of 2 layers',
    });
  });

  it('serves no more from the moment it is told to stop', () => {
    const stopping = { phase: 'Stopping', containerId: 'c1' } as const;
    const seen = report({ containers: [container()] }, { activity: stopping });
    expect(seen.record).toMatchObject({ phase: 'Stopping', ready: false });
    expect(seen.endpoint).toBeUndefined();
    const other = report(
      { containers: [container()] },
      { activity: { ...stopping, containerId: 'c2' } },
    );
    expect(other.record?.ready).toBe(true);
  });

  it('is nothing when nothing is here, and Stopping while something still is', () => {
    expect(report({ desired: undefined })).toEqual({});
    const leaving = report({ desired: undefined, containers: [container()] });
    expect(leaving.record).toMatchObject({ phase: 'Stopping', ready: false });
    expect(leaving.endpoint).toBeUndefined();
  });

  it('tells how a single run has ended', () => {
    const ended = { state: 'exited', finishedAt: at(1500) } as const;
    const end = (over: Partial<OwnedContainer>) =>
      report({ desired: once, containers: [container({ ...ended, ...over })] }).record;
    expect(end({})).toMatchObject({ phase: 'Exited', reason: 'Completed', exitCode: 0 });
    expect(end({ exitCode: 3 })).toMatchObject({
      reason: 'Error',
      message: 'exited with code 3 after 2 s',
    });
    expect(end({ exitCode: 137, oomKilled: true })).toMatchObject({ reason: 'OOMKilled' });
  });

  it('calls it a crash loop from the third end in a row, and says when the engine starts it again', () => {
    const restarting = (times: number) =>
      report({
        containers: [
          container({ state: 'restarting', exitCode: 1, restartCount: times, finishedAt: at(100) }),
        ],
        memory: crashed(times),
      }).record;
    expect(restarting(1)).toMatchObject({ phase: 'Starting', reason: 'Restarting' });
    expect(restarting(3)).toMatchObject({ phase: 'Failed', reason: 'CrashLoop', restarts: 3 });
    expect(restarting(7)?.message).toBe('exited with code 1 after 0.1 s; next start in 6 s');
  });

  it('lets a container that has crashed settle before it serves again', () => {
    const memory = crashed(4);
    const again = container({ restartCount: 4, startedAt: at(10_000) });
    const early = report({ containers: [again], memory }, { nowMs: start + 11_000 });
    expect(early.record).toMatchObject({ phase: 'Running', ready: false, reason: 'CrashLoop' });
    expect(early.changesInMs).toBe(7000);
    expect(report({ containers: [again], memory }, { nowMs: start + 18_000 }).record?.ready).toBe(
      true,
    );
  });

  it('of a failed step has its reason, also beside an old container that serves', () => {
    const failure = nextFailure(undefined, { reason: 'PortInUse', message: 'bind: in use' }, 0, 0);
    const memory = { ...blankMemory, failure };
    expect(report({ memory }).record).toMatchObject({
      phase: 'Failed',
      reason: 'PortInUse',
      message: 'bind: in use; next try in 1 s',
    });
    const old = report({ memory, containers: [container({ placementId: 'before' })] });
    expect(old.record).toMatchObject({
      id: 'before',
      phase: 'Running',
      ready: true,
      reason: 'PortInUse',
    });
  });
});

describe('pauses', () => {
  it("are the engine's: doubling from 0.1 s to 60 s", () => {
    expect([1, 2, 3, 8, 10, 11, 99].map(enginePauseMs)).toEqual([
      100, 200, 400, 12_800, 51_200, 60_000, 60_000,
    ]);
  });

  it('of the agent double from 1 s, to 5 min for pulls and 1 min for the rest', () => {
    const pauses = (reason: string): number[] => {
      let failure = nextFailure(undefined, { reason, message: '' }, 0, 0);
      const all = [failure.retryAt];
      for (let i = 0; i < 11; i++) {
        failure = nextFailure(failure, { reason, message: '' }, 0, 0);
        all.push(failure.retryAt);
      }
      return all;
    };
    expect(pauses('ImagePullFailed').slice(0, 4)).toEqual([1000, 2000, 4000, 8000]);
    expect(pauses('ImagePullFailed').at(-1)).toBe(300_000);
    expect(pauses('PortInUse').at(-1)).toBe(60_000);
  });

  it('start anew after a run of ten seconds', () => {
    const short = crashed(5).crash!;
    const seen = {
      id: 'c1',
      restartCount: 6,
      state: 'restarting',
      startedAt: at(0),
      finishedAt: at(10_000),
    } as const;
    expect(nextCrashState(short, seen).shortRuns).toBe(1);
    expect(settleMs(0)).toBe(0);
  });

  it('are right though ends were missed', () => {
    const seen = {
      id: 'c1',
      restartCount: 9,
      state: 'restarting',
      startedAt: at(0),
      finishedAt: at(100),
    } as const;
    expect(nextCrashState(crashed(2).crash, seen).shortRuns).toBe(9);
    expect(nextCrashState(undefined, seen).shortRuns).toBe(9);
  });
});

describe('restarts', () => {
  it('are counted across starts by call and across containers, however often one looks', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom('crash', 'call', 'new', 'look'), { maxLength: 30 }),
        (deeds) => {
          let seen = container({ startedAt: at(0) });
          let memory = remember(blankMemory, seen);
          let starts = 0;
          let clock = 0;
          for (const deed of deeds) {
            clock += 20_000;
            if (deed !== 'look') starts++;
            if (deed === 'crash') {
              seen = { ...seen, restartCount: seen.restartCount + 1, startedAt: at(clock) };
            } else if (deed === 'call') {
              seen = { ...seen, restartCount: 0, startedAt: at(clock) };
            } else if (deed === 'new') {
              seen = { ...seen, id: `c${clock}`, restartCount: 0, startedAt: at(clock) };
            }
            memory = remember(memory, seen);
          }
          expect(memory.earlierRestarts + seen.restartCount).toBe(starts);
        },
      ),
    );
  });
});

describe('ownership', () => {
  const labels = {
    'nap.dev/host': 'h1',
    'nap.dev/namespace': 'default',
    'nap.dev/project': 'shop',
    'nap.dev/service': 'web',
    'nap.dev/ordinal': '1',
    'nap.dev/instance': 'a',
    'nap.dev/spec-hash': '1',
  };
  it('is read from complete labels with this host only', () => {
    expect(ownedContainer(container({ labels }), 'h1')).toMatchObject({ key, placementId: 'a' });
    expect(ownedContainer(container({ labels }), 'h2')).toBeUndefined();
    for (const name of Object.keys(labels)) {
      expect(
        ownedContainer(container({ labels: { ...labels, [name]: '' } }), 'h1'),
      ).toBeUndefined();
    }
    const crooked = { ...labels, 'nap.dev/service': 'web/../x' };
    expect(ownedContainer(container({ labels: crooked }), 'h1')).toBeUndefined();
  });
});
