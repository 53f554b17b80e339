import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  hostRecords,
  instanceRecords,
  type ContainerSpec,
  type InstanceRecord,
} from '../../../src/registry/records/index.ts';
import type { Store } from '../../../src/registry/store.ts';
import { TestDocker } from '../../support/docker.ts';
import { TestEtcd } from '../../support/etcd.ts';
import { eventually } from '../../support/eventually.ts';
import { WatchLog } from '../../support/watch-log.ts';
import { host, key, openTestStore, Operator, RunningAgent, spec } from './harness.ts';

const hookImage = 'nap-test/hook:1';

let docker: TestDocker;
let etcd: TestEtcd;
let store: Store;
let operator: Operator;
let agent: RunningAgent;
/** On the host, mounted into every container at /log: what ran writes a word to `order`. */
let dir: string;
let count = 0;
let instance = key();

beforeAll(async () => {
  [docker, etcd] = await Promise.all([TestDocker.start(), TestEtcd.start()]);
  await docker.importImage(hookImage, ['ENV WHO=hook', 'ENTRYPOINT ["sh", "/log/script"]']);
  store = await openTestStore(etcd);
  operator = new Operator(store);
  agent = new RunningAgent(docker, store);
  await eventually('host is ready', async () => (await operator.host())?.ready, 60_000);
}, 120_000);

afterAll(async () => {
  await agent.stop();
  await store.close();
  await docker.stop();
  await etcd.stop();
});

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'nap-hooks-'));
  await writeFile(join(dir, 'order'), '');
  instance = key(1, `hooked${String(++count)}`);
});

afterEach(async () => {
  await operator.unplace(instance);
  await eventually('nothing is left of it', async () => (await containers()).length === 0, 60_000);
  await rm(dir, { recursive: true, force: true });
});

/** Appends a word and does the rest. */
const says = (word: string, then = ':') => ({
  command: ['sh', '-c', `echo ${word} >>/log/order; ${then}`],
});

const main = [
  'sh',
  '-c',
  'echo main >>/log/order; trap "echo term >>/log/order; exit 0" TERM; while :; do sleep 60 & wait $!; done',
];

function hooked(hooks: ContainerSpec['hooks'], over: Partial<ContainerSpec> = {}): ContainerSpec {
  return spec({
    command: main,
    mounts: [{ type: 'bind', source: dir, target: '/log', readOnly: false }],
    ...(hooks && { hooks }),
    ...over,
  });
}

const order = async (): Promise<string[]> =>
  (await readFile(join(dir, 'order'), 'utf8')).split('\n').filter((word) => word !== '');

/** What has run, in order: exactly this, as soon as all of it can have been written. */
async function expectOrder(words: readonly string[]): Promise<void> {
  const isWritten = async (): Promise<boolean> => (await order()).length >= words.length;
  await eventually('all is written', isWritten).catch(() => undefined);
  expect(await order()).toEqual(words);
}

const containers = async (): Promise<string[]> =>
  (
    await docker.cli(
      ...[
        'ps',
        '-a',
        '--filter',
        `label=nap.dev/service=${instance.service}`,
        '--format',
        '{{.Names}}',
      ],
    )
  )
    .split('\n')
    .filter((name) => name !== '');

function shows(what: string, test: (record: InstanceRecord) => boolean): Promise<InstanceRecord> {
  return eventually(
    what,
    async () => {
      const seen = await operator.instance(instance);
      return seen !== undefined && test(seen) && seen;
    },
    60_000,
  );
}

/** Another agent follows, and has seen the instance: until then its record is still what the first one said. */
async function replaceAgent(): Promise<void> {
  await agent.stop();
  agent = new RunningAgent(docker, store);
  await eventually(
    'it speaks for the instance',
    async () => {
      const [own, other] = await Promise.all([
        store.get(instanceRecords.path({ host, ...instance })),
        store.get(hostRecords.path({ host })),
      ]);
      return (await operator.host())?.ready === true && own?.lease === other?.lease;
    },
    60_000,
  );
}

describe('hooks', { timeout: 120_000 }, () => {
  it('run around start and stop, in order, and leave nothing behind', async () => {
    await operator.place(
      instance,
      hooked(
        {
          startPre: [
            says('pre'),
            { image: hookImage, command: ['sh', '-c', 'echo pre-$WHO-$OWN >>/log/order'] },
          ],
          startPost: [says('post')],
          stop: [says('stop')],
          stopPost: [says('stopped')],
        },
        { environment: { OWN: 'mine' } },
      ),
    );
    await shows('ready', ({ ready }) => ready);
    expect(await containers()).toHaveLength(1);
    await operator.unplace(instance);
    await eventually('gone', async () => (await containers()).length === 0, 60_000);
    await expectOrder(['pre', 'pre-hook-mine', 'main', 'post', 'stop', 'term', 'stopped']);
  });

  it('run an image as it is, if no command is given, and may fail where that is said', async () => {
    await writeFile(join(dir, 'script'), 'echo script >>/log/order; exit 4');
    await operator.place(
      instance,
      hooked({ startPre: [{ image: hookImage, ignoreFailure: true }, says('pre')] }),
    );
    await shows('ready', ({ ready }) => ready);
    await expectOrder(['script', 'pre', 'main']);
  });

  it('before a start: a failure is a failed start, told with its last words, and cleaned up after', async () => {
    await operator.place(
      instance,
      hooked(
        {
          startPre: [says('pre', 'echo no such table; exit 3'), says('never')],
          stopPost: [says('stopped')],
        },
        { restart: 'on-abnormal' },
      ),
    );
    const record = await shows('failed', ({ phase }) => phase === 'Failed');
    expect(record).toMatchObject({ ready: false, reason: 'StartPreFailed' });
    expect(record.message).toMatch(
      /^execStartPre\[0\] \(sh -c .*exited with code 3: no such table$/,
    );
    await eventually('cleaned up', async () => (await order()).includes('stopped'));
    await expectOrder(['pre', 'stopped']);
    expect(await containers()).toHaveLength(1);
  });

  it('before a start: is tried again as the restart policy says', async () => {
    await operator.place(
      instance,
      hooked(
        {
          startPre: [
            says(
              'pre',
              '[ $(cat /log/order | sh -c "n=0; while read x; do n=\\$((n+1)); done; echo \\$n") -ge 3 ]',
            ),
          ],
        },
        { restart: 'on-failure' },
      ),
    );
    await shows('ready at the third try', ({ ready }) => ready);
    await expectOrder(['pre', 'pre', 'pre', 'main']);
  });

  it('after a start: not ready before they have succeeded, and stopped when they fail', async () => {
    await operator.place(
      instance,
      hooked(
        {
          startPost: [
            says('post', 'while [ ! -e /log/go ]; do sleep 0.1; done; echo oh dear; exit 7'),
          ],
          stop: [says('never')],
          stopPost: [says('stopped')],
        },
        { restart: 'no' },
      ),
    );
    const waiting = await shows('waits', ({ reason }) => reason === 'StartPost');
    expect(waiting).toMatchObject({ ready: false, phase: 'Starting' });
    expect(await operator.endpoint(instance)).toBeUndefined();
    await writeFile(join(dir, 'go'), '');
    const record = await shows('failed', ({ phase }) => phase === 'Failed');
    expect(record.reason).toBe('StartPostFailed');
    expect(record.message).toMatch(/exited with code 7: oh dear$/);
    await expectOrder(['main', 'post', 'term', 'stopped']);
  });

  it('that do not end are ended in time, and their trouble is told while the stop goes on', async () => {
    await operator.place(
      instance,
      hooked({ stop: [says('stop', 'sleep 600')] }, { timeoutStopMs: 500 }),
    );
    await shows('ready', ({ ready }) => ready);
    // The record may be there for a few milliseconds only: none is to be missed.
    const watch = new WatchLog(store, instanceRecords.path({ host, ...instance }));
    await watch.until('watched', ({ state }) => state.size === 1);
    await operator.unplace(instance);
    await eventually('gone', async () => (await containers()).length === 0, 60_000);
    await watch.until('the record is gone', ({ state }) => state.size === 0);
    const told = watch.events
      .filter((event) => event.type === 'put')
      .map(({ entry }) => instanceRecords.decode(entry.value))
      .find(({ reason }) => reason === 'StopHookFailed');
    await watch.stop();
    expect(told).toMatchObject({ phase: 'Stopping', ready: false });
    expect(told?.message).toMatch(/not done within 500ms/);
    await expectOrder(['main', 'stop', 'term']);
  });

  it('before a start: one that takes too long counts as a timeout', async () => {
    await operator.place(
      instance,
      hooked({ startPre: [says('pre', 'sleep 600')] }, { timeoutStartMs: 1000, restart: 'no' }),
    );
    const record = await shows('failed', ({ phase }) => phase === 'Failed');
    expect(record.reason).toBe('StartPreFailed');
    expect(record.message).toMatch(/not done within 1s/);
    expect(await containers()).toHaveLength(1);
  });

  it('after the end: are run for an end while the agent was away, once', async () => {
    await operator.place(
      instance,
      hooked({ stopPost: [says('stopped')] }, { restart: 'on-failure' }),
    );
    const { containerId = '' } = await shows('ready', ({ ready }) => ready);
    await agent.stop();
    await docker.cli('kill', '--signal=KILL', containerId);
    agent = new RunningAgent(docker, store);
    await shows('ready again', ({ ready, startedAt }) => ready && startedAt !== undefined);
    await eventually('started anew', async () => (await order()).length === 3, 60_000);
    await expectOrder(['main', 'stopped', 'main']);
    // Another agent finds all done.
    await replaceAgent();
    await shows('ready still', ({ ready }) => ready);
    await expectOrder(['main', 'stopped', 'main']);
  });

  it('that run while the agent is replaced go on, and are run once', async () => {
    await operator.place(
      instance,
      hooked({
        startPre: [
          says('one'),
          says('two', 'while [ ! -e /log/go ]; do sleep 0.1; done'),
          says('three'),
        ],
      }),
    );
    await eventually('the second runs', async () => (await order()).includes('two'), 60_000);
    await replaceAgent();
    await writeFile(join(dir, 'go'), '');
    await shows('ready', ({ ready }) => ready);
    await expectOrder(['one', 'two', 'three', 'main']);
    expect(await containers()).toHaveLength(1);
  });

  it('are found and finished after a crash of engine and host in their midst', async () => {
    await operator.place(
      instance,
      hooked({ startPre: [says('pre', '[ -e /log/go ] || sleep 600')] }, { restart: 'on-failure' }),
    );
    await eventually('the hook runs', async () => (await order()).includes('pre'), 60_000);
    await docker.powerOff();
    await writeFile(join(dir, 'go'), '');
    await docker.startEngine();
    await shows('ready', ({ ready }) => ready);
    await eventually('it runs', async () => (await order()).at(-1) === 'main');
    expect(await containers()).toHaveLength(1);
  });

  it('that nobody waits for any more are ended', async () => {
    await operator.place(instance, hooked({ startPre: [says('pre', 'sleep 600')] }));
    await eventually('the hook runs', async () => (await order()).includes('pre'), 60_000);
    await operator.unplace(instance);
    await eventually('gone', async () => (await containers()).length === 0, 60_000);
    await expectOrder(['pre']);
  });
});

describe('timeoutStart', { timeout: 120_000 }, () => {
  it('stops what does not get ready, but never what was ready once', async () => {
    const check = {
      probe: { type: 'exec' as const, command: ['sh', '-c', '[ -e /log/well ]'] },
      intervalMs: 100,
      timeoutMs: 5000,
      retries: 1,
      startPeriodMs: 0,
      unhealthyAction: 'none' as const,
    };
    await operator.place(
      instance,
      hooked(undefined, {
        healthCheck: check,
        timeoutStartMs: 2000,
        restart: 'on-abnormal',
        restartMs: 1000,
      }),
    );
    const late = await shows('late', ({ reason }) => reason === 'StartTimeout');
    expect(late.message).toMatch(/^not ready within 2s of its start/);
    await writeFile(join(dir, 'well'), '');
    const { startedAt } = await shows('ready', ({ ready }) => ready);
    await rm(join(dir, 'well'));
    await shows('unhealthy', ({ health }) => health === 'unhealthy');
    await replaceAgent();
    // Twice the time that a start is given.
    await new Promise((resolve) => setTimeout(resolve, 4000));
    expect(await operator.instance(instance)).toMatchObject({ startedAt, health: 'unhealthy' });
  });
});

describe('a data-only container', { timeout: 120_000 }, () => {
  it('is created, never started, and ready', async () => {
    await operator.place(instance, hooked(undefined, { start: false }));
    expect(await shows('ready', ({ ready }) => ready)).toMatchObject({ phase: 'Created' });
    expect(await docker.cli('ps', '-a', '--format', '{{.State}}')).toBe('created');
    await replaceAgent();
    await shows('ready still', ({ ready }) => ready);
    await expectOrder([]);
  });
});
