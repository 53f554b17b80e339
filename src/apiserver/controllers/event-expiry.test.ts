import { expect, it } from 'vitest';
import { VirtualClock } from '../../../test/support/virtual-clock.ts';
import { eventually } from '../../../test/support/eventually.ts';
import { MemoryStore } from '../../registry/memory/store.ts';
import { silentLogger } from '../../telemetry/log.ts';
import { startApiServer } from '../server.ts';

it('forgets events an hour after they were last seen', async () => {
  const clock = new VirtualClock(Date.parse('2026-01-01T00:00:00Z'));
  const store = new MemoryStore();
  const server = await startApiServer({
    store,
    crds: [],
    tokens: [],
    listen: { host: '127.0.0.1', port: 0 },
    log: silentLogger,
    clock,
  });
  const events = `${server.url}/api/v1/namespaces/default/events`;
  const post = async (name: string, lastTimestamp: string): Promise<number> => {
    const body = {
      metadata: { name },
      involvedObject: { name: 'x' },
      reason: 'Test',
      lastTimestamp,
    };
    const answer = await fetch(events, {
      method: 'POST',
      body: JSON.stringify(body),
      headers: { 'content-type': 'application/json' },
    });
    return answer.status;
  };
  const names = async (): Promise<string[]> => {
    const list = (await (await fetch(events)).json()) as {
      items: { metadata: { name: string } }[];
    };
    return list.items.map(({ metadata }) => metadata.name);
  };
  try {
    expect(await post('once', '2026-01-01T00:00:00Z')).toBe(201);
    expect(await post('again', '2026-01-01T00:30:00Z')).toBe(201);
    await clock.advance(59 * 60_000);
    expect(await names()).toEqual(['again', 'once']);
    await clock.advance(3 * 60_000);
    await eventually('the older event is gone', async () => (await names()).join() === 'again');
    await clock.advance(30 * 60_000);
    await eventually('the other follows', async () => (await names()).length === 0);
  } finally {
    await server.close();
    await store.close();
  }
});
