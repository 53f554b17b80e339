import { getEventListeners } from 'node:events';
import { expect, it } from 'vitest';
import { linkSignals } from './linked-signal.ts';

it('aborts with the reason of whichever source aborts first', () => {
  const [one, two] = [new AbortController(), new AbortController()];
  const { signal } = linkSignals(one.signal, undefined, two.signal);
  expect(signal.aborted).toBe(false);
  two.abort(new Error('two'));
  one.abort(new Error('one'));
  expect(signal.reason).toEqual(new Error('two'));
});

it('has aborted from the start when a source has', () => {
  expect(linkSignals(AbortSignal.abort('over')).signal.reason).toBe('over');
});

it('leaves nothing on its sources, neither after unlink nor after an abort', () => {
  const [kept, aborted] = [new AbortController(), new AbortController()];
  linkSignals(kept.signal).unlink();
  linkSignals(kept.signal, aborted.signal);
  aborted.abort();
  expect(getEventListeners(kept.signal, 'abort')).toEqual([]);
});
