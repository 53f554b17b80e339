import { describe, expect, test } from 'vitest';
import type { Container } from '../support/box.ts';
import {
  box,
  cleansUp,
  conditions,
  containerOf,
  containers,
  eventually,
  expectExactly,
  holds,
  kubectl,
  project,
  reboot,
  settles,
  toolsImage,
} from './harness.ts';

interface ServiceObject {
  readonly metadata: { readonly name: string; readonly labels?: Readonly<Record<string, string>> };
  readonly status?: {
    readonly state?: string;
    readonly completions?: string;
    readonly failed?: number;
    readonly schedule?: {
      readonly lastSuccessfulTime?: string;
      readonly nextScheduleTime?: string;
      readonly runs?: readonly { readonly name: string; readonly state: string }[];
    };
  };
}

const service = (name: string): Promise<ServiceObject> =>
  kubectl.get<ServiceObject>(`napsvc/${name}`);

const shell = (script: string) => ({ command: ['sh', '-c', script], type: 'oneshot' });

const running = (list: readonly Container[]): Container[] => list.filter((c) => c.running);

/** Lines that a shell command prints in a volume on h1. */
async function read(volume: string, script: string): Promise<string[]> {
  const text = await box.docker(
    'h1',
    ...['run', '--rm', '-v', `default_${volume}:/v`, '-w', '/v', toolsImage, 'sh', '-c', script],
  );
  return text.trim().split('\n');
}

/** Lets a project's spec have more than services. */
function withPreDeploy(of: ReturnType<typeof project>): ReturnType<typeof project> {
  const whole = of as typeof of & { spec: object };
  const changed = { ...whole, spec: { ...whole.spec, preDeploy: 'migrate' } };
  return changed;
}

describe('services that come to an end', () => {
  cleansUp('once', 'batch', 'nightly', 'gated');

  test('a migration on one host gates a service on another, and runs once for each change', async () => {
    const app = (version: number) =>
      project('once', {
        migrate: {
          ...shell(`sleep 3; echo ${version} >> /log/runs`),
          volumes: ['log:/log'],
          placement: { machineID: 'h1' },
        },
        web: {
          placement: { machineID: 'h2' },
          dependsOn: { migrate: { condition: 'completed' } },
        },
      });
    await kubectl.apply(app(1));
    await settles('the migration runs', async () => {
      await containerOf('once', 'migrate', 1, ['h1']);
    });
    expect(await containers('once', { service: 'web' })).toEqual([]);
    await kubectl.wait('project/once');
    await containerOf('once', 'web', 1, ['h2']);
    expect((await service('once-migrate')).status).toMatchObject({
      state: 'Completed',
      completions: '1/1',
    });
    expect((await conditions('napsvc/once-migrate'))['Complete']?.status).toBe('True');
    const table = await kubectl.run('get', 'napsvc', 'once-migrate');
    expect(table).toMatch(/COMPLETIONS/);
    expect(table).toMatch(/True +Completed +0\/0 +1\/1/);
    const log = () => read('once_log', 'cat runs');
    expect(await log()).toEqual(['1']);

    // Power off, whatever becomes of the host's lease meanwhile.
    await reboot('h1');
    await holds(async () => {
      expect(await containers('once', { service: 'migrate' }).then(running)).toEqual([]);
    }, 4_000);
    expect(await log()).toEqual(['1']);
    expect((await service('once-migrate')).status?.state).toBe('Completed');

    await kubectl.apply(app(2));
    await settles(
      'the changed one has run',
      async () => {
        expect(await log()).toEqual(['1', '2']);
      },
      60_000,
    );
    await kubectl.wait('project/once');
  });

  test('a job brings all to success, two at a time, and tries again what failed', async () => {
    await kubectl.apply(
      project('batch', {
        work: {
          ...shell('echo . >> /state/%i; sleep 1; [ %i != 2 ] || [ $(wc -l < /state/2) -ge 2 ]'),
          replicas: 4,
          restartSec: '200ms',
          job: { parallelism: 2, backoffLimit: 1, deadline: '5m' },
          volumes: ['state:/state'],
          placement: { machineID: 'h1' },
        },
      }),
    );
    let most = 0;
    await eventually(
      'all have succeeded',
      async () => {
        most = Math.max(most, running(await containers('batch', { on: ['h1'] })).length);
        return (await service('batch-work')).status?.state === 'Completed';
      },
      90_000,
    );
    expect(most).toBeLessThanOrEqual(2);
    expect((await service('batch-work')).status).toMatchObject({ completions: '4/4', failed: 1 });
    const tries = await read('batch_state', 'for i in *; do echo $i: $(wc -l < $i); done');
    expect(tries).toEqual(['1: 1', '2: 2', '3: 1', '4: 1']);
    await kubectl.wait('project/batch');
  });

  test('a schedule runs at its times, and rests while it is suspended', async () => {
    const app = (suspend: boolean) =>
      project('nightly', {
        backup: {
          ...shell('true'),
          schedule: { cron: '*/2 * * * * *', concurrencyPolicy: 'forbid', suspend },
        },
      });
    await kubectl.apply(app(false));
    await eventually(
      'two runs are done',
      async () => {
        const runs = (await service('nightly-backup')).status?.schedule?.runs ?? [];
        return runs.filter(({ state }) => state === 'Completed').length >= 2;
      },
      60_000,
    );
    await kubectl.apply(app(true));
    await eventually(
      'it is suspended, and nothing runs',
      async () => {
        const { status } = await service('nightly-backup');
        const running = (status?.schedule?.runs ?? []).some(
          ({ state }) => state !== 'Completed' && state !== 'Failed',
        );
        return status?.state === 'Suspended' && !running;
      },
      60_000,
    );
    const names = async () =>
      (await service('nightly-backup')).status?.schedule?.runs?.map(({ name }) => name);
    const before = await names();
    await holds(async () => {
      expect(await names()).toEqual(before);
    }, 4_000);
    await kubectl.wait('project/nightly');
  });

  test('a pre-deploy job that fails leaves the old release as it is', async () => {
    const app = (version: number, exit: number) =>
      withPreDeploy(
        project('gated', {
          migrate: shell(`echo ${version}; exit ${exit}`),
          web: { environment: { VERSION: String(version) } },
        }),
      );
    await kubectl.apply(app(1, 0));
    await kubectl.wait('project/gated');
    const web = await containerOf('gated', 'web');
    await kubectl.apply(app(2, 7));
    await settles(
      'the release has failed',
      async () => {
        const { Stalled } = await conditions('project/gated');
        expect(Stalled).toMatchObject({ status: 'True', reason: 'RolledBack' });
        expect(Stalled?.message).toMatch(/revision 2 failed: migrate: .*exited with code 7/);
      },
      60_000,
    );
    expect((await containerOf('gated', 'web')).id).toBe(web.id);
    await kubectl.apply(app(3, 0));
    await kubectl.wait('project/gated');
    expect((await containerOf('gated', 'web')).id).not.toBe(web.id);
    await settles('only the last migration is left', async () => {
      const list = await containers('gated', { service: 'migrate' });
      expect(list.map((c) => c.running)).toEqual([false]);
    });
    await expect(expectExactly('gated', { web: 1 })).rejects.toThrow(/migrate/);
  });
});
