import { desiredInstance, ownedContainer, webKey } from '../../../test/support/instances.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ContainerSpec } from '../../registry/records/index.ts';
import { blankMemory, withStartFailure, type InstanceMemory } from '../memory.ts';
import type { OwnedContainer } from '../ownership.ts';
import { planInstance, type InstanceView, type PlanContext } from '../plan.ts';
import type { Step } from '../steps.ts';
import { markedName, markOf, runOf, unmarkedName, type Mark } from './mark.ts';
import { parseStopHooks, stopHooksLabel } from './stop-hooks.ts';

const key = webKey;
const startMs = Date.parse('2026-01-01T00:00:00Z');
const at = (ms: number): string => new Date(startMs + ms).toISOString();
const context: PlanContext = {
  known: true,
  mayCreate: true,
  network: { name: 'nap', gateway: '10.77.1.1' },
  now: 5000,
  wallMs: startMs + 3_600_000,
};
const hook = [{ command: ['x'] }];
const all = { startPre: hook, startPost: hook, stop: hook, stopPost: hook };

const desired = (over: Partial<ContainerSpec>) =>
  desiredInstance({ restart: 'on-failure', ...over });

function container(
  spec: Partial<ContainerSpec>,
  over: Partial<OwnedContainer>,
  mark?: Mark,
): OwnedContainer {
  const stopHooks = parseStopHooks(stopHooksLabel(spec));
  const made = ownedContainer({ exitCode: 1, ...(stopHooks && { stopHooks }), ...over });
  return mark === undefined ? made : { ...made, name: markedName(made, mark) };
}

function words(view: Partial<InstanceView>, over: Partial<PlanContext> = {}): string {
  const whole = { key, desired: undefined, containers: [], memory: blankMemory, ...view };
  return planInstance(whole, { ...context, ...over })
    .steps.map((step) =>
      step.type === 'hooks' ? step.phase : step.type === 'mark' ? `(${step.mark})` : step.type,
    )
    .join(' ');
}

const created = { state: 'created', startedAt: undefined } as const;
const exited = { state: 'exited', finishedAt: at(60_000) } as const;
const whole = 'image create (starting) startPre start startPost (started)';

describe('where hooks stand in a plan', () => {
  const none = {};
  const post = { hooks: { stopPost: hook } };
  const every = { hooks: all };
  it.each<
    [string, Partial<ContainerSpec>, Partial<OwnedContainer> | undefined, Mark | undefined, string]
  >([
    ['nothing is there', every, undefined, undefined, whole],
    ['nothing is there, no hooks', none, undefined, undefined, 'image create start'],
    ['created', every, created, undefined, '(starting) startPre start startPost (started)'],
    ['its start was broken off', every, created, 'starting', 'stopPost (ended)'],
    [
      'cleaned up after that',
      every,
      created,
      'ended',
      '(starting) startPre start startPost (started)',
    ],
    ['runs, not warmed up', every, {}, undefined, 'startPost (started)'],
    [
      'runs, the mark of an earlier run',
      every,
      { name: 'x.started-1' },
      undefined,
      'startPost (started)',
    ],
    ['runs', every, {}, 'started', ''],
    ['was ready', every, {}, 'ready', ''],
    ['has ended', every, exited, 'started', 'stopPost (ended)'],
    ['has ended without a word', post, exited, undefined, 'stopPost (ended)'],
    ['has ended and is cleaned up', post, exited, 'ended', '(starting) start'],
    [
      'the engine gave it up',
      post,
      { state: 'dead' },
      'started',
      'image stopPost (ended) remove create (starting) start',
    ],
    ['has ended, nothing to clean up', { hooks: { stop: hook } }, exited, undefined, 'start'],
    ['is data', { start: false }, created, undefined, ''],
    ['is data to be made', { start: false }, undefined, undefined, 'image create'],
  ])('%s', (_name, spec, over, mark, expected) => {
    const containers = over === undefined ? [] : [container(spec, over, mark)];
    expect(words({ desired: desired(spec), containers })).toBe(expected);
  });

  it.each<[string, Partial<OwnedContainer>, Mark | undefined, string]>([
    ['runs', {}, 'started', 'drain stop stop stopPost (ended) remove'],
    ['runs, not warmed up', {}, undefined, 'drain stop stopPost (ended) remove'],
    ['is paused', { state: 'paused' }, 'started', 'drain stop stopPost (ended) remove'],
    ['has ended', exited, 'started', 'stopPost (ended) remove'],
    ['is cleaned up', exited, 'ended', 'remove'],
    ['never started', created, undefined, 'remove'],
    ['its start was broken off', created, 'starting', 'stopPost (ended) remove'],
  ])('that is placed here no more and %s', (_name, over, mark, expected) => {
    expect(words({ containers: [container({ hooks: all }, over, mark)] })).toBe(expected);
  });

  it('touches nothing while the placements are unknown', () => {
    const containers = [container({ hooks: all }, exited, 'started')];
    expect(words({ containers, hooks: [hookOf(containers[0]!)] }, { known: false })).toBe('');
  });
});

function hookOf(main: OwnedContainer, over: Partial<OwnedContainer> = {}): OwnedContainer {
  const hook = { phase: 'startPre', index: 0, containerId: main.id, run: runOf(main) };
  return { ...main, id: 'k1', hook, state: 'running', startedAt: at(1), ...over };
}

describe('containers of hooks', () => {
  const spec = { hooks: all };
  const main = container(spec, created, 'starting');
  it.each<[string, Partial<InstanceView>, Partial<PlanContext>, string]>([
    ['are taken up', { containers: [main] }, {}, '(starting) startPre start startPost (started)'],
    [
      'are removed with their instance',
      { desired: undefined, containers: [main] },
      {},
      'remove stopPost (ended) remove',
    ],
    ['are removed without it', { desired: undefined }, {}, 'remove'],
    [
      'are removed when their main is another one',
      { containers: [{ ...main, id: 'c2' }] },
      {},
      'remove stopPost (ended)',
    ],
    [
      'are run again when their machine went down',
      { containers: [main], hooks: [hookOf(main, exited)] },
      { interrupted: () => true },
      'remove stopPost (ended)',
    ],
    [
      'are removed in a pause',
      {
        containers: [main],
        memory: { ...blankMemory, failure: { count: 1, retryAt: 9000, reason: 'X', message: '' } },
      },
      {},
      'remove',
    ],
  ])('%s', (_name, view, over, expected) => {
    expect(words({ desired: desired(spec), hooks: [hookOf(main)], ...view }, over)).toBe(expected);
  });
});

describe('a start that failed', () => {
  const failure = (startedAt: string | undefined, reason: string): InstanceMemory =>
    withStartFailure(blankMemory, {
      containerId: 'c1',
      startedAt,
      cause: reason === 'StartTimeout' ? 'timeout' : 'exit-code',
      reason,
      message: 'm',
      at: startMs,
    });
  const plan = (
    spec: Partial<ContainerSpec>,
    over: Partial<OwnedContainer>,
    mark: Mark | undefined,
    memory: InstanceMemory,
    ms = 3_600_000,
  ) =>
    words(
      { desired: desired(spec), containers: [container(spec, over, mark)], memory },
      { wallMs: startMs + ms },
    );

  it('is stopped, without execStop, and cleaned up', () => {
    const memory = failure(at(0), 'StartPostFailed');
    expect(plan({ hooks: all }, {}, undefined, memory)).toBe('stop stopPost (ended)');
    expect(plan({ hooks: all }, {}, 'started', failure(at(9), 'StartPostFailed'))).toBe('');
  });

  it('follows the restart policy', () => {
    const pre = failure(undefined, 'StartPreFailed');
    const again = '(starting) startPre start startPost (started)';
    expect(plan({ hooks: all }, created, 'starting', pre)).toBe('stopPost (ended)');
    expect(plan({ hooks: all }, created, 'ended', pre)).toBe(again);
    expect(plan({ hooks: all, restart: 'no' }, created, 'ended', pre)).toBe('');
    expect(plan({ hooks: all, restart: 'on-abnormal' }, created, 'ended', pre)).toBe('');
    const late = failure(at(0), 'StartTimeout');
    expect(plan({ hooks: all, restart: 'on-abnormal' }, exited, 'ended', late)).toBe(again);
    expect(plan({ hooks: all, restartMs: 5000 }, created, 'ended', pre, 4000)).toBe('');
  });

  it('counts for the start limit', () => {
    const startLimit = { burst: 2, intervalMs: 60_000 };
    const spec = { hooks: all, startLimit };
    let memory: InstanceMemory = blankMemory;
    const plans = [1, 2, 3].map(() => {
      const seen = plan(spec, created, 'ended', memory, 10_000);
      memory = withStartFailure(
        memory,
        { ...failure(undefined, 'StartPreFailed').startFailure!, at: startMs + 9000 },
        spec,
      );
      return seen === '';
    });
    expect(plans).toEqual([false, false, true]);
  });
});

describe('timeoutStart', () => {
  const spec = { timeoutStartMs: 1000 };
  const check = (status: 'starting' | 'healthy' | 'unhealthy') => ({
    health: [{ containerId: 'c1', status, message: undefined, flaps: 0, restarts: false }],
  });
  const plan = (view: Partial<InstanceView>, seenAt: number, mark?: Mark) =>
    words({
      desired: desired(spec),
      containers: [container(spec, {}, mark)],
      memory: { ...blankMemory, runSeen: { containerId: 'c1', startedAt: at(0), at: seenAt } },
      ...view,
    });

  it.each([
    ['starting', 4500, undefined, ''],
    ['starting', 4000, undefined, 'stop'],
    ['unhealthy', 4000, undefined, 'stop'],
    ['healthy', 4000, undefined, '(ready)'],
    ['unhealthy', 0, 'ready', ''],
    ['starting', 0, 'ready', ''],
  ] as const)('%s, seen first at %d, mark %s: %s', (status, seenAt, mark, expected) => {
    expect(plan(check(status), seenAt, mark)).toBe(expected);
  });

  it('ends nothing that is not checked, or was not watched from the start', () => {
    expect(plan({}, 0)).toBe('');
    expect(plan({ ...check('starting'), memory: blankMemory }, 0)).toBe('');
  });
});

describe('marks', () => {
  it('are read back, for their own run only', () => {
    const marks = fc.constantFrom<Mark>('starting', 'started', 'ready', 'ended');
    const runs = fc.option(
      fc.date({ noInvalidDate: true }).map((d) => d.toISOString()),
      {
        nil: undefined,
      },
    );
    fc.assert(
      fc.property(marks, marks, runs, runs, (first, second, run, other) => {
        const seen = { name: 'nap_default_shop_web_1_0a1b2c3d', startedAt: run };
        const name = markedName({ name: markedName(seen, first), startedAt: run }, second);
        expect(markOf({ name, startedAt: run })).toBe(second);
        expect(unmarkedName(name)).toBe(seen.name);
        if (runOf({ startedAt: other }) !== runOf(seen)) {
          expect(markOf({ name, startedAt: other })).toBeUndefined();
        }
      }),
    );
  });
});

describe('hooks after the end', () => {
  /** Carries the steps out as an engine would; may be cut off after any of them. */
  function execute(
    before: OwnedContainer,
    steps: readonly Step[],
    cut: number,
    ran: string[],
  ): OwnedContainer | undefined {
    let now: OwnedContainer | undefined = before;
    for (const step of steps.slice(0, cut)) {
      if (now === undefined) break;
      if (step.type === 'stop') now = { ...now, state: 'exited', finishedAt: at(1) };
      if (step.type === 'remove') now = undefined;
      else if (step.type === 'mark') now = { ...now, name: markedName(now, step.mark) };
      else if (step.type === 'hooks') ran.push(`${step.phase} ${runOf(now)}`);
      else if (step.type === 'start') {
        now = {
          ...now,
          state: 'running',
          startedAt: new Date(Date.parse(now.startedAt ?? at(0)) + 1000).toISOString(),
        };
      }
    }
    return now;
  }

  it('follow every run, however often its agent is cut off', () => {
    const cuts = fc.array(fc.nat({ max: 6 }), { maxLength: 20 });
    fc.assert(
      fc.property(cuts, fc.boolean(), (cutAfter, placed) => {
        const spec = { hooks: all };
        const ran: string[] = [];
        let now: OwnedContainer | undefined = container(spec, exited, 'started');
        const first = runOf(now);
        for (const cut of [...cutAfter, 9, 9, 9]) {
          if (now === undefined) break;
          const view: InstanceView = {
            key,
            desired: placed ? desired(spec) : undefined,
            containers: [now],
            memory: blankMemory,
          };
          now = execute(now, planInstance(view, context).steps, cut, ran);
        }
        const done = ran.filter((word) => word === `stopPost ${first}`).length;
        expect(done).toBeGreaterThanOrEqual(1);
        // Nothing is left to do, and what is not cut off is run once.
        expect(placed ? now?.state : now).toBe(placed ? 'running' : undefined);
        if (cutAfter.length === 0) expect(done).toBe(1);
      }),
    );
  });
});
