import {
  desiredInstance,
  ownedContainer as container,
  webKey,
} from '../../test/support/instances.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseIpv6Prefix } from '../network/address/dual-stack.ts';
import type { DesiredInstance } from './desired.ts';
import type { ContainerState } from './docker/engine.ts';
import { blankMemory } from './memory.ts';
import type { OwnedContainer } from './ownership.ts';
import { engineRestarts } from './restart/engine-restarts.ts';
import { planInstance, type InstanceView, type PlanContext } from './plan.ts';
import { stepReasons, type Step } from './steps.ts';

const key = webKey;
const gateway = '10.77.1.1';
const context: PlanContext = {
  known: true,
  mayCreate: true,
  network: { name: 'nap', gateway },
  now: 1000,
};

/** The network with IPv6, and what a container was made with. */
const six = { network: { name: 'nap', gateway, ipv6: parseIpv6Prefix('fd00:77::/64') } };
const twins = { assigned: { nap: '10.77.1.2' }, assignedIpv6: { nap: 'FD00:77:0::a4d:102' } };
const madeAnew = ['image', 'drain c1', 'stop c1', 'remove c1', 'create', 'start'];

const desired = (id = 'a', specHash = '1', restart: 'always' | 'no' = 'always') =>
  desiredInstance({ restart }, { id, specHash });

function view(over: Partial<InstanceView> = {}): InstanceView {
  return { key, desired: desired(), containers: [], memory: blankMemory, ...over };
}

/** "stop c1" for short. */
function words(steps: readonly Step[]): string[] {
  return steps.map((step) =>
    'containerId' in step && step.containerId !== undefined
      ? `${step.type} ${step.containerId}`
      : step.type,
  );
}

const failing = {
  ...blankMemory,
  failure: { count: 1, retryAt: 5000, reason: 'ImagePullFailed', message: 'x' },
};

describe('the plan of one instance', () => {
  const rows: [string, InstanceView, Partial<PlanContext>, string[], string?][] = [
    [
      'a new placement is made and started',
      view(),
      {},
      ['image', 'create', 'start'],
      stepReasons.placed,
    ],
    [
      'a running container of the placement is left alone',
      view({ containers: [container()] }),
      {},
      [],
    ],
    [
      'one that waits for its restart is left to the engine',
      view({ containers: [container({ state: 'restarting' })] }),
      {},
      [],
    ],
    [
      'a paused one is left to who paused it',
      view({ containers: [container({ state: 'paused' })] }),
      {},
      [],
    ],
    [
      'one that was stopped by hand is started',
      view({ containers: [container({ state: 'exited' })] }),
      {},
      ['start c1'],
      stepReasons.stoppedOutside,
    ],
    [
      'one that was stopped by hand is started without a lease, too',
      view({ containers: [container({ state: 'exited' })] }),
      { mayCreate: false, network: undefined },
      ['start c1'],
    ],
    [
      'restart: no stays exited',
      view({ desired: desired('a', '1', 'no'), containers: [container({ state: 'exited' })] }),
      {},
      [],
    ],
    [
      'restart: no is not run again when its container was removed',
      view({ desired: desired('a', '1', 'no'), memory: { ...blankMemory, ran: true } }),
      {},
      [],
    ],
    [
      'what was created but not started is started',
      view({ containers: [container({ state: 'created', startedAt: undefined })] }),
      {},
      ['start c1'],
      stepReasons.neverStarted,
    ],
    [
      'another spec: the old one runs until the image is here',
      view({ desired: desired('a', '2'), containers: [container()] }),
      {},
      ['image', 'drain c1', 'stop c1', 'remove c1', 'create', 'start'],
      stepReasons.specChanged,
    ],
    [
      'another placement of the ordinal replaces the old one',
      view({ desired: desired('b'), containers: [container()] }),
      {},
      ['image', 'drain c1', 'stop c1', 'remove c1', 'create', 'start'],
      stepReasons.replaced,
    ],
    [
      'the old one runs on while the new one cannot be made',
      view({ desired: desired('b'), containers: [container()], memory: failing }),
      {},
      [],
    ],
    [
      'the old one runs on while the lease is not proved',
      view({ desired: desired('b'), containers: [container()] }),
      { mayCreate: false },
      [],
    ],
    [
      'what is not placed here is stopped and removed',
      view({ desired: undefined, containers: [container()] }),
      {},
      ['drain c1', 'stop c1', 'remove c1'],
      stepReasons.notPlaced,
    ],
    [
      'what is not placed here and does not run is removed',
      view({ desired: undefined, containers: [container({ state: 'exited' })] }),
      {},
      ['remove c1'],
    ],
    [
      'nothing is concluded from placements that were not read',
      view({ desired: undefined, containers: [container()] }),
      { known: false },
      [],
    ],
    ['nothing is created without a lease', view(), { mayCreate: false }, []],
    ['nothing is created without a network', view(), { network: undefined }, []],
    [
      'of two containers of one placement the older one stays',
      view({
        containers: [container({ id: 'c2', startedAt: '2026-01-02T00:00:00Z' }), container()],
      }),
      {},
      ['drain c2', 'stop c2', 'remove c2'],
      stepReasons.duplicate,
    ],
    [
      'a dead one is made anew',
      view({ containers: [container({ state: 'dead' })] }),
      {},
      ['image', 'remove c1', 'create', 'start'],
      stepReasons.dead,
    ],
    [
      'one on a lost subnet is made anew',
      view({ containers: [container({ dns: ['10.77.9.1'] })] }),
      {},
      ['image', 'drain c1', 'stop c1', 'remove c1', 'create', 'start'],
      stepReasons.networkChanged,
    ],
    [
      'one that was taken off the network by hand is made anew',
      view({ containers: [container({ addresses: {} })] }),
      {},
      ['image', 'drain c1', 'stop c1', 'remove c1', 'create', 'start'],
      stepReasons.networkChanged,
    ],
    ['one with the twin of its address stays', view({ containers: [container(twins)] }), six, []],
    ['one whose address the engine chooses stays', view({ containers: [container()] }), six, []],
    [
      'one without the twin of its address is made anew',
      view({ containers: [container({ assigned: twins.assigned })] }),
      six,
      madeAnew,
      stepReasons.networkChanged,
    ],
    [
      'one with the twin of another address is made anew',
      view({ containers: [container({ ...twins, assignedIpv6: { nap: 'fd00:78::a4d:102' } })] }),
      six,
      madeAnew,
      stepReasons.networkChanged,
    ],
    [
      'one with an IPv6 address that the network has not is made anew',
      view({ containers: [container(twins)] }),
      {},
      madeAnew,
      stepReasons.networkChanged,
    ],
    [
      'one that must not be restarted keeps what it has',
      view({
        desired: desired('a', '1', 'no'),
        containers: [container({ assigned: twins.assigned })],
      }),
      six,
      [],
    ],
    [
      'one on an unproved subnet is left alone',
      view({ containers: [container({ dns: ['10.77.9.1'] })] }),
      { network: undefined },
      [],
    ],
    [
      'a removal by others is waited for',
      view({ desired: undefined, containers: [container({ state: 'removing' })] }),
      {},
      [],
    ],
  ];
  it.each(rows)('%s', (_name, seen, over, expected, reason) => {
    const { steps } = planInstance(seen, { ...context, ...over });
    expect(words(steps)).toEqual(expected);
    if (reason !== undefined)
      expect(new Set(steps.map((step) => step.reason))).toEqual(new Set([reason]));
  });

  it('says when to plan again after a failure', () => {
    expect(planInstance(view({ memory: failing }), context)).toEqual({ steps: [], wakeAt: 5000 });
    expect(planInstance(view({ memory: failing }), { ...context, now: 5000 }).steps).not.toEqual(
      [],
    );
  });
});

const states: ContainerState[] = ['created', 'running', 'paused', 'restarting', 'exited', 'dead'];
const anyContainers = fc
  .array(
    fc.record({
      state: fc.constantFrom(...states),
      placementId: fc.constantFrom('a', 'b'),
      specHash: fc.constantFrom('1', '2'),
      dns: fc.constantFrom([gateway], ['10.77.9.1']),
      startedAt: fc.constantFrom(undefined, '2026-01-01T00:00:00Z', '2026-01-02T00:00:00Z'),
    }),
    { maxLength: 5 },
  )
  .map((all) => all.map((over, i) => container({ ...over, id: `c${i}` })));
const anyDesired = fc.oneof(
  fc.constant(undefined),
  fc
    .tuple(
      fc.constantFrom('a', 'b'),
      fc.constantFrom('1', '2'),
      fc.constantFrom('always' as const, 'no' as const),
    )
    .map((args) => desired(...args)),
);
const anyView = fc
  .record({ desired: anyDesired, containers: anyContainers })
  .map((parts) => view(parts));

/** What the engine holds after the steps. */
function execute(before: readonly OwnedContainer[], steps: readonly Step[]): OwnedContainer[] {
  let all = [...before];
  const setState = (id: string, state: ContainerState): void => {
    all = all.map((c) => (c.id === id ? { ...c, state } : c));
  };
  for (const step of steps) {
    if (step.type === 'stop') setState(step.containerId, 'exited');
    if (step.type === 'remove') all = all.filter(({ id }) => id !== step.containerId);
    if (step.type === 'start') setState(step.containerId ?? 'new', 'running');
    if (step.type === 'create') {
      const { id: placementId, specHash } = step.desired;
      all.push(
        container({
          id: 'new',
          state: 'created',
          placementId,
          specHash,
          dns: [step.network.gateway],
        }),
      );
    }
  }
  return all;
}

describe('every plan', () => {
  it('leaves nothing to do once it is carried out', () => {
    fc.assert(
      fc.property(anyView, (seen) => {
        const containers = execute(seen.containers, planInstance(seen, context).steps);
        expect(planInstance({ ...seen, containers }, context).steps).toEqual([]);
      }),
    );
  });

  it('ends with at most one container, the one that is placed', () => {
    fc.assert(
      fc.property(anyView, (seen) => {
        const left = execute(seen.containers, planInstance(seen, context).steps);
        expect(left).toHaveLength(seen.desired === undefined ? 0 : 1);
        for (const each of left) {
          expect([each.placementId, each.specHash]).toEqual([
            seen.desired?.id,
            seen.desired?.specHash,
          ]);
        }
      }),
    );
  });

  it('never touches a running container that is what is placed, unless it keeps an older twin', () => {
    fc.assert(
      fc.property(anyView, (seen) => {
        const own = seen.containers.filter(
          (c) =>
            c.state === 'running' &&
            c.placementId === seen.desired?.id &&
            c.specHash === seen.desired.specHash &&
            // One that must not run twice stays, wherever it asks.
            (c.dns.includes(gateway) || seen.desired.placement.container.restart === 'no'),
        );
        const left = execute(seen.containers, planInstance(seen, context).steps);
        if (own.length > 0) expect(own.map(({ id }) => id)).toContain(left[0]?.id);
      }),
    );
  });

  it('touches nothing while the placements are unknown', () => {
    fc.assert(
      fc.property(anyView, (seen) => {
        expect(planInstance(seen, { ...context, known: false }).steps).toEqual([]);
      }),
    );
  });

  it('creates nothing and replaces nothing without a lease', () => {
    fc.assert(
      fc.property(anyView, (seen) => {
        const { steps } = planInstance(seen, { ...context, mayCreate: false });
        expect(steps.some(({ type }) => type === 'create' || type === 'image')).toBe(false);
        const left = execute(seen.containers, steps);
        const lived = seen.containers.some(({ state }) => state === 'running');
        if (seen.desired !== undefined && lived) {
          expect(
            left.some(({ state }) =>
              ['running', 'created', 'exited', 'paused', 'restarting'].includes(state),
            ),
          ).toBe(true);
        }
      }),
    );
  });
});

describe('a fenced instance', () => {
  const fenced = (over: Partial<OwnedContainer> = {}) => container({ fenced: true, ...over });
  const wish = (): DesiredInstance => {
    const base = desired();
    const spec = { ...base.placement.container, fencing: 'stop' as const };
    return { ...base, placement: { ...base.placement, container: spec } };
  };
  const stop = [
    { type: 'stop', key, containerId: 'c1', graceMs: 5000, reason: stepReasons.fenced },
  ];

  it('is stopped when the host is not licensed, whatever else is known or not', () => {
    const cases: [Partial<InstanceView>, Partial<PlanContext>][] = [
      [{ desired: wish() }, {}],
      [{ desired: undefined }, { known: false }],
      [{ desired: wish() }, { network: undefined, mayCreate: false }],
      [
        {
          desired: wish(),
          memory: {
            ...blankMemory,
            failure: { count: 1, retryAt: 9_000, reason: 'x', message: 'x' },
          },
        },
        {},
      ],
    ];
    for (const [of, at] of cases) {
      const plan = planInstance(view({ containers: [fenced()], ...of }), {
        ...context,
        ...at,
        licensed: false,
      });
      expect(plan.steps).toEqual(stop);
    }
  });

  it('goes on while the host is licensed; others never stop for want of a licence', () => {
    const kept = view({ desired: wish(), containers: [fenced()] });
    expect(planInstance(kept, { ...context, licensed: true }).steps).toEqual([]);
    expect(
      planInstance(view({ containers: [container()] }), { ...context, licensed: false }).steps,
    ).toEqual([]);
  });

  it('is not started without a licence, and starts again with one', () => {
    const ended = fenced({ state: 'exited', exitCode: 0, finishedAt: '2026-01-01T00:01:00Z' });
    const memory = {
      ...blankMemory,
      fenced: { containerId: 'c1', startedAt: '2026-01-01T00:00:00Z' },
    };
    const of = view({ desired: wish(), containers: [ended], memory });
    expect(planInstance(of, { ...context, licensed: false }).steps).toEqual([]);
    expect(words(planInstance(of, { ...context, licensed: true }).steps)).toEqual(['start c1']);
  });

  it('is restarted by nobody but the agent', () => {
    expect(engineRestarts(wish().placement.container)).toBe(false);
  });
});

describe('by what an earlier agent knew', () => {
  it('what ended is started again', () => {
    const of = view({ containers: [container({ state: 'exited', exitCode: 0 })] });
    expect(words(planInstance(of, { ...context, remembered: true }).steps)).toEqual(['start c1']);
  });

  it('nothing is made, replaced or removed', () => {
    fc.assert(
      fc.property(anyView, (seen) => {
        const { steps } = planInstance(seen, { ...context, remembered: true });
        for (const step of steps) expect(['start', 'stop']).toContain(step.type);
        const stops = steps.filter(({ type }) => type === 'stop');
        for (const { reason } of stops) expect(reason).toBe(stepReasons.unhealthy);
      }),
    );
  });
});
