import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ContainerSpec } from '../../../src/registry/records/index.ts';
import type { Store } from '../../../src/registry/store.ts';
import { TestDocker } from '../../support/docker.ts';
import { TestEtcd } from '../../support/etcd.ts';
import { eventually } from '../../support/eventually.ts';
import { key, openTestStore, Operator, RunningAgent, spec } from './harness.ts';

/** systemd.service(5), "Exit causes and the effect of the Restart= settings"; X: started again. */
const table = `
cause        no  always  on-success  on-failure  on-abnormal  on-abort
clean-code   -   X       X           -           -            -
clean-signal -   X       X           -           -            -
exit-code    -   X       -           X           -            -
timeout      -   X       -           X           X            -
signal       -   X       -           X           X            X
oom          -   X       -           X           X            -
`;

type Policy = ContainerSpec['restart'];

/** Its first run waits for `go` or does what is said; later runs stay. */
const firstRun = (what: string): string[] => [
  'sh',
  '-c',
  `trap "exit 0" TERM; if [ ! -e /ran ]; then : >/ran; ${what}; fi; : >/stays; while :; do sleep 60 & wait $!; done`,
];

const causes: Readonly<Record<string, Partial<ContainerSpec>>> = {
  'clean-code': { command: firstRun('exit 0') },
  // What the engine reports for a program that SIGTERM has ended.
  'clean-signal': { command: firstRun('exit 143') },
  'exit-code': { command: firstRun('exit 3') },
  timeout: {
    command: firstRun('while :; do sleep 60 & wait $!; done'),
    healthCheck: {
      // Fails throughout the first run: a check in a start's first interval does not count yet.
      probe: { type: 'exec', command: ['sh', '-c', '[ -e /stays ]'] },
      intervalMs: 200,
      timeoutMs: 5000,
      retries: 1,
      startPeriodMs: 0,
      unhealthyAction: 'restart',
    },
  },
  signal: { command: firstRun('while :; do sleep 60 & wait $!; done') },
  oom: {
    // Asks for far too much in one step: what nears its limit slowly may live on for minutes, reading its own program again and
    // again from the disk, before the kernel gives up on it. Not at once, and the container outlives it a little: the
    // engine does not see a kill before it has begun to look, nor one in a container that is gone before it could.
    command: firstRun(
      'sleep 3; dd if=/dev/zero of=/dev/null bs=256M count=1; code=$?; sleep 2; exit $code',
    ),
    limits: { memoryBytes: 32 * 1024 * 1024 },
  },
};

const [header = [], ...rows] = table
  .trim()
  .split('\n')
  .map((line) => line.split(/\s+/));
const cells = rows.flatMap(([cause = '', ...marks]) =>
  marks.map((mark, i) => ({
    cause,
    policy: (header[i + 1] ?? '') as Policy,
    restarts: mark === 'X',
  })),
);

let docker: TestDocker;
let etcd: TestEtcd;
let store: Store;
let operator: Operator;
let agent: RunningAgent;

const at = (policy: string, cause: string) => key(1, `${policy}-${cause}`);

beforeAll(async () => {
  [docker, etcd] = await Promise.all([TestDocker.start(), TestEtcd.start()]);
  store = await openTestStore(etcd);
  operator = new Operator(store);
  agent = new RunningAgent(docker, store);
  await eventually('host is ready', async () => (await operator.host())?.ready);
  for (const { policy, cause } of cells) {
    await operator.place(at(policy, cause), spec({ ...causes[cause], restart: policy }));
  }
  for (const { policy } of cells.filter(({ cause }) => cause === 'signal')) {
    const record = await eventually(
      'it runs',
      async () => {
        const seen = await operator.instance(at(policy, 'signal'));
        return seen?.phase === 'Running' && seen;
      },
      120_000,
    );
    await docker.cli('kill', '--signal=KILL', record.containerId!);
  }
}, 240_000);

afterAll(async () => {
  await agent.stop();
  await store.close();
  await docker.stop();
  await etcd.stop();
});

describe('the restart table, with real containers', () => {
  it.each(cells)('$policy after $cause: started again: $restarts', async (cell) => {
    const { policy, cause, restarts } = cell;
    const instance = at(policy, cause);
    if (restarts) {
      const record = await eventually(
        'it runs again',
        async () => {
          const seen = await operator.instance(instance);
          return seen !== undefined && seen.restarts > 0 && seen.phase === 'Running' && seen;
        },
        60_000,
      );
      expect(record.restarts).toBe(1);
      return;
    }
    const ended = await eventually(
      'it has ended',
      async () => {
        const seen = await operator.instance(instance);
        return seen?.phase === 'Exited' && seen;
      },
      60_000,
    );
    const reasons: Record<string, string> = {
      'exit-code': 'Error',
      timeout: 'Unhealthy',
      signal: 'Killed',
      oom: 'OOMKilled',
    };
    expect(ended).toMatchObject({
      ready: false,
      restarts: 0,
      reason: reasons[cause] ?? 'Completed',
    });
    // Longer than any pause before a first restart.
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(await operator.instance(instance)).toMatchObject({ phase: 'Exited', restarts: 0 });
  });

  it('gives up at the start limit, with the reason, and starts again when it is started by hand', async () => {
    const instance = key(1, 'limited');
    await operator.place(
      instance,
      spec({
        command: ['sh', '-c', 'exit 4'],
        restart: 'on-failure',
        startLimit: { burst: 3, intervalMs: 60_000 },
      }),
    );
    const failed = async () => {
      const seen = await operator.instance(instance);
      return seen?.reason === 'StartLimitHit' && seen;
    };
    const record = await eventually('the limit is hit', failed, 60_000);
    expect(record).toMatchObject({ phase: 'Failed', restarts: 2, exitCode: 4 });
    expect(record.message).toMatch(/^3 starts within 1m; exited with code 4/);
    await docker.cli('start', record.containerId!);
    await eventually('it was started once more, and gives up again', async () => {
      const seen = await failed();
      return seen !== false && seen.restarts === 3;
    });
  });

  it('waits restartSec, twice as long the second time', async () => {
    const instance = key(1, 'slow');
    const command = ['sh', '-c', 'exit 5'];
    await operator.place(instance, spec({ command, restart: 'on-failure', restartMs: 1000 }));
    const startOf = (restarts: number) => async () => {
      const seen = await operator.instance(instance);
      return seen !== undefined && seen.restarts >= restarts && Date.parse(seen.startedAt ?? '');
    };
    const first = await eventually('second start', startOf(1), 60_000);
    const second = await eventually('third start', startOf(2), 60_000);
    expect(second - first).toBeGreaterThanOrEqual(2000);
  });

  it('starts again what ended with the engine, though the policy would leave such an end', async () => {
    const instance = key(1, 'survivor');
    await operator.place(instance, spec({ restart: 'on-failure' }));
    const before = await eventually('it runs', async () => {
      const seen = await operator.instance(instance);
      return seen?.ready === true && seen;
    });
    // On its way down the engine sends SIGTERM, and the container ends with code 0.
    await docker.stopEngine('TERM');
    await docker.resumeEngine();
    await eventually(
      'it runs again',
      async () => {
        const seen = await operator.instance(instance);
        return seen?.ready === true && seen.startedAt !== before.startedAt;
      },
      60_000,
    );
  });
});
