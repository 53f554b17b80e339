import { describe, expect, it } from 'vitest';
import type { InstanceRecord } from '../registry/records/index.ts';
import { instanceNews } from './announce-instances.ts';

const identity = { namespace: 'default', project: 'shop', service: 'web' };
const base: InstanceRecord = {
  id: 'a',
  specHash: '1',
  phase: 'Running',
  ready: true,
  containerId: 'c1',
  restarts: 0,
};

function news(
  before: Partial<InstanceRecord>,
  after: Partial<InstanceRecord>,
  ordinal = '1',
): string[] {
  const said = instanceNews(
    identity,
    { ordinal, host: 'h1' },
    { ...base, ...before },
    { ...base, ...after },
  );
  return said.map(({ type, reason, message }) => `${type} ${reason} ${message}`);
}

describe('instanceNews', () => {
  it('tells when an instance becomes unhealthy, with what the check said, and when it recovers', () => {
    const unhealthy = {
      ready: false,
      health: 'unhealthy',
      message: 'GET :80/: status 503',
    } as const;
    expect(news({ health: 'healthy' }, unhealthy)).toEqual([
      'Warning Unhealthy shop-web-1 on h1: GET :80/: status 503',
    ]);
    expect(news(unhealthy, { health: 'healthy' })).toEqual([
      'Normal Healthy shop-web-1 on h1 is healthy again',
    ]);
  });

  it('tells of a flap that was over before anybody looked', () => {
    expect(news({ health: 'healthy' }, { health: 'healthy', flaps: 1 })).toEqual([
      'Warning Unhealthy shop-web-1 on h1 was unhealthy for a moment',
    ]);
  });

  it('tells of hooks that failed, once for each time that they say something else', () => {
    const failed = {
      phase: 'Starting',
      ready: false,
      reason: 'StartPreFailed',
      message: 'execStartPre[0] (x) exited with code 3: no; next start in 1 s',
    } as const;
    const told =
      'Warning StartPreFailed shop-web-1 on h1: execStartPre[0] (x) exited with code 3: no';
    expect(news({}, failed)).toEqual([told]);
    expect(news(failed, failed)).toEqual([]);
    expect(news(failed, { ...failed, message: failed.message.replace('1 s', '2 s') })).toEqual([
      told,
    ]);
    expect(news({}, { phase: 'Stopping', reason: 'StopHookFailed', message: 'm' })).toEqual([
      'Warning StopHookFailed shop-web-1 on h1: m',
    ]);
  });

  it('says nothing of a first start, a first health, or the same report again', () => {
    expect(news({}, {})).toEqual([]);
    expect(news({ health: 'starting', ready: false }, { health: 'healthy' })).toEqual([]);
    expect(instanceNews(identity, { ordinal: '1', host: 'h1' }, undefined, base)).toEqual([]);
    expect(news({ id: 'other', restarts: 5 }, { restarts: 7 })).toEqual([]);
  });

  it('tells of each restart in the same words, so that events add up', () => {
    const waiting = (ranMs: string, pause: string): Partial<InstanceRecord> => ({
      phase: 'Starting',
      reason: 'Restarting',
      message: `exited with code 3 after ${ranMs} s; next start in ${pause} s`,
    });
    const expected = ['Warning Restarted shop-web-1 on h1: exited with code 3'];
    expect(news(waiting('0.1', '0.2'), { restarts: 1 })).toEqual(expected);
    expect(news(waiting('7', '4'), { restarts: 1 }, '1.b')).toEqual(expected);
    expect(news({ reason: 'Unhealthy', ready: false }, { restarts: 1 })).toEqual([
      'Warning Restarted shop-web-1 on h1: it was unhealthy',
    ]);
  });

  it('tells of an end that nothing follows', () => {
    const limit = {
      phase: 'Failed',
      reason: 'StartLimitHit',
      message: '3 starts within 1m; exited with code 4 after 0.1 s',
    } as const;
    expect(news({}, limit)).toEqual([
      'Warning StartLimitHit shop-web-1 on h1: 3 starts within 1m; exited with code 4',
    ]);
    expect(news({}, { phase: 'Exited', reason: 'Error', message: 'exited with code 1' })).toEqual([
      'Warning Ended shop-web-1 on h1: exited with code 1',
    ]);
    expect(
      news({}, { phase: 'Exited', reason: 'Completed', message: 'exited with code 0' }),
    ).toEqual([]);
  });
});
