import type { Entry, WatchBatch } from './store.ts';

/** The versions of one record that a batch of a watch brings; none when it is gone. */
export function versionsIn(batch: WatchBatch, key: string): readonly Entry[] {
  if (batch.type === 'progress') return [];
  const entries =
    batch.type === 'snapshot'
      ? batch.entries
      : batch.events.flatMap((event) => (event.type === 'put' ? [event.entry] : []));
  return entries.filter((entry) => entry.key === key);
}
