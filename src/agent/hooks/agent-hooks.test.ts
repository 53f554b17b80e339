import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { eventually } from '../../../test/support/eventually.ts';
import { agentOptions, agentParts } from '../../../test/support/agent-parts.ts';
import { FakeEngine } from '../../../test/support/fake-engine.ts';
import { containerSpec } from '../../../test/support/instances.ts';
import type { Hooks } from '../../api/v1alpha1/hooks.ts';
import { MemoryStore } from '../../registry/memory/store.ts';
import { instanceRecords, placementRecords } from '../../registry/records/index.ts';
import { runAgent } from '../agent.ts';

const key = { namespace: 'default', project: 'shop', service: 'web', ordinal: '1' };
const image = 'shop/web:1';
const path = placementRecords.path({ host: 'h1', ...key });
let engine: FakeEngine;
let store: MemoryStore;
let line: MemoryStore;
let stop: AbortController;
let agent: Promise<void>;

beforeEach(() => {
  engine = new FakeEngine();
  engine.images.add(image);
  store = new MemoryStore();
  line = new MemoryStore({ database: store.database });
  start();
});

afterEach(async () => {
  await end();
  await line.close();
  await store.close();
});

function start(): void {
  stop = new AbortController();
  agent = runAgent(agentOptions(), agentParts({ store: line, engine }), stop.signal);
}

async function end(): Promise<void> {
  stop.abort();
  await agent.catch(() => undefined);
}

async function place(hooks: Hooks): Promise<void> {
  const value = placementRecords.encode({
    id: 'a',
    serviceUID: 'u',
    specHash: '1',
    container: containerSpec({ image, hooks, stopGracePeriodMs: 1000 }),
    placedAt: '2026-01-01T00:00:00Z',
  });
  await store.commit([], [{ type: 'put', key: path, value }]);
}

const unplace = () => store.commit([], [{ type: 'delete', key: path }]);

const record = () => {
  const entry = store.database.get(instanceRecords.path({ host: 'h1', ...key }));
  return entry && instanceRecords.decode(entry.value);
};
const ready = () => eventually('it is ready', () => record()?.ready === true);
const gone = () => eventually('nothing is left', () => engine.containers.length === 0);
/** Without the names of containers. */
const calls = () => engine.calls.map((call) => call.replace(/ nap_\S+| [bc]\d+/, ''));
const hook = (word: string) => [{ command: [word] }];

describe('an agent with hooks to run', () => {
  it('runs them around start and stop, and leaves nothing behind', async () => {
    await place({
      startPre: hook('a'),
      startPost: hook('b'),
      stop: hook('c'),
      stopPost: hook('d'),
    });
    await ready();
    await unplace();
    await gone();
    const beside = (word: string) => [`beside ${word}`, 'start', 'remove'];
    expect(calls()).toEqual([
      ...['create', ...beside('a'), 'start', 'exec b'],
      ...['exec c', 'stop', ...beside('d'), 'remove'],
    ]);
  });

  it('takes up what an earlier one has begun, and does away with what nobody waits for', async () => {
    engine.runs = () => undefined;
    await place({ startPre: hook('slow') });
    const running = () =>
      engine.containers.find(({ id, state }) => id.startsWith('b') && state === 'running');
    const { id } = await eventually('the hook runs', running);
    await end();
    start();
    await eventually('it is looked at', () => record()?.message?.includes('execStartPre[0]'));
    engine.exit(id, 0);
    await ready();
    expect(calls().filter((call) => call === 'beside slow')).toHaveLength(1);
    await unplace();
    await gone();
    await place({ startPre: hook('slow') });
    await eventually('the hook runs', running);
    await unplace();
    await gone();
  });

  it('runs again what ended with its engine', async () => {
    engine.runs = () => undefined;
    await place({ startPre: hook('slow') });
    const { id } = await eventually('the hook runs', () =>
      engine.containers.find((each) => each.id.startsWith('b') && each.state === 'running'),
    );
    engine.setDown(true);
    engine.exit(id, 137);
    await new Promise((resolve) => setTimeout(resolve, 50));
    engine.runs = () => 0;
    engine.setDown(false);
    await ready();
    expect(calls().filter((call) => call === 'beside slow')).toHaveLength(2);
  });
});
