import { describe, expect, test } from 'vitest';
import {
  box,
  cleansUp,
  conditions,
  containerOf,
  containers,
  eventually,
  instances,
  kubectl,
  otherToolsImage,
  project,
  settles,
} from './harness.ts';

/** Appends a word to the log that a data-only container holds. */
const says = (word: string, then = ':') => ({
  command: ['sh', '-c', `echo ${word} >>/log/order; ${then}`],
});

const order = async (): Promise<string[]> => {
  const reader = await containerOf('hooks', 'reader');
  const text = await box.docker(reader.host, 'exec', reader.id, 'cat', '/log/order');
  return text.split('\n').filter((line) => line !== '');
};

const messages = (reason: string): Promise<string> =>
  kubectl.run('get', 'events', '-o', `jsonpath={.items[?(@.reason=="${reason}")].message}`);

const patchHost = (host: string, spec: object): Promise<unknown> =>
  kubectl.run('patch', 'host', host, '--type=merge', '-p', JSON.stringify({ spec }));

const startedAt = async (service: string): Promise<string> => {
  const { host, id } = await containerOf('hooks', service);
  return box.docker(host, 'inspect', '-f', '{{.State.StartedAt}}', id);
};

/** Ready only while it has a file that nobody makes but the test. */
const blessed = (timing: object) => ({
  healthCheck: {
    exec: { command: ['sh', '-c', '[ -e /blessed ]'] },
    interval: '200ms',
    startPeriod: '10m',
    ...timing,
  },
});
const bless = async (service: string): Promise<void> => {
  const { host, id } = await eventually('it runs', () => containerOf('hooks', service));
  await box.docker(host, 'exec', id, 'sh', '-c', ': >/blessed');
};

describe('hooks', () => {
  cleansUp('hooks');

  test('around starts and stops of a service whose log is in a data-only container', async () => {
    const services = (version: string) => ({
      data: { start: false, volumes: ['log:/log'] },
      reader: { volumesFrom: ['data:ro'] },
      app: {
        volumesFrom: ['data'],
        environment: { VERSION: version },
        execStartPre: [{ image: otherToolsImage, ...says('pre-$VERSION-on-%H') }],
        execStartPost: [says('post')],
        execStop: [says('stop')],
        execStopPost: [says('after')],
      },
    });
    await kubectl.apply(project('hooks', services('1')));
    await kubectl.wait('project/hooks');
    const [{ host = '' } = {}] = await instances('hooks-app');
    const [data] = await instances('hooks-data');
    expect(data).toMatchObject({ host, phase: 'Created', ready: true });
    expect(await order()).toEqual([`pre-1-on-${host}`, 'post']);
    await kubectl.apply(project('hooks', services('2')));
    await settles('the new one is there', async () => {
      expect(await order()).toEqual([
        `pre-1-on-${host}`,
        'post',
        'stop',
        'after',
        `pre-2-on-${host}`,
        'post',
      ]);
    });
    await kubectl.wait('project/hooks');
    expect(await containers('hooks', { service: 'app' })).toHaveLength(1);
  });

  test('that fail are told with exit code and last words, and nobody waits for a service that is only wanted', async () => {
    await kubectl.apply(
      project('hooks', {
        cache: {
          restart: 'no',
          execStartPre: [{ command: ['sh', '-c', 'sleep 2; echo no disk; exit 9'] }],
        },
        slow: { execStartPre: [{ command: ['sleep', '3'] }] },
        web: { wants: ['cache', 'slow'] },
      }),
    );
    await settles('web runs all the same', async () => {
      expect(await instances('hooks-web')).toEqual([expect.objectContaining({ ready: true })]);
      expect(await instances('hooks-cache')).toEqual([
        expect.objectContaining({
          phase: 'Failed',
          reason: 'StartPreFailed',
          message: expect.stringMatching(
            /^execStartPre\[0\] .* exited with code 9: no disk$/,
          ) as string,
        }),
      ]);
    });
    expect((await startedAt('web')) > (await startedAt('slow'))).toBe(true);
    await settles('an event, too', async () => {
      expect(await messages('StartPreFailed')).toContain('exited with code 9: no disk');
    });
  });

  test('an update that waits too long for an instance says so and stops', async () => {
    await kubectl.apply(project('hooks', { web: {} }));
    await kubectl.wait('project/hooks');
    await kubectl.apply(
      project('hooks', { web: { ...blessed({}), update: { progressDeadline: '3s' } } }),
    );
    await settles('the update stops', async () => {
      expect((await conditions('napsvc/hooks-web'))['Stalled']).toMatchObject({
        status: 'True',
        reason: 'UpdateStopped',
        message: expect.stringContaining('not ready within 3s (progressDeadline)') as string,
      });
    });
    await bless('web');
    await settles('and goes on when it is ready after all', async () => {
      expect((await conditions('napsvc/hooks-web'))['Ready']).toMatchObject({ status: 'True' });
    });
  });

  test('a host that is drained past its deadline keeps only what cannot be anywhere else', async () => {
    for (const host of ['h1', 'h2']) await patchHost(host, { unschedulable: true });
    await kubectl.apply(
      project('hooks', { db: { volumes: ['data:/data'] }, stubborn: blessed({}) }),
    );
    await bless('stubborn');
    await kubectl.wait('project/hooks');
    const before = await containerOf('hooks', 'db');
    expect(before.host).toBe('h3');
    for (const host of ['h1', 'h2']) await patchHost(host, { unschedulable: false });
    await patchHost('h3', { drain: { deadline: '20s' } });
    await eventually('a successor starts elsewhere', async () => {
      const all = await containers('hooks', { service: 'stubborn' });
      return all.length === 2;
    });
    // It does not get ready, so the old one goes on serving until its time is over.
    expect((await containers('hooks', { service: 'stubborn', on: ['h3'] }))[0]?.running).toBe(true);
    await settles(
      'the time is over',
      async () => {
        expect(await containers('hooks', { service: 'stubborn', on: ['h3'] })).toEqual([]);
        expect((await conditions('host/h3'))['Drained']).toMatchObject({
          status: 'False',
          reason: 'DeadlineExceeded',
          message: expect.stringContaining('hooks-db-1: its volume data is there') as string,
        });
        expect(await messages('CannotDrain')).toContain('hooks-db-1');
      },
      60_000,
    );
    expect(await containers('hooks', { service: 'stubborn' })).toHaveLength(1);
    expect(await containerOf('hooks', 'db')).toEqual(before);
    await patchHost('h3', { drain: null });
    await bless('stubborn');
    await kubectl.wait('project/hooks');
  });
});
