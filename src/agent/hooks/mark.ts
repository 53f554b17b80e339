import type { InspectedContainer } from '../docker/engine.ts';

/**
 * How far a run of a container with hooks has come:
 * - `starting`: its hooks before the start have begun
 * - `started`: its hooks after the start have succeeded
 * - `ready`: it was ready once
 * - `ended`: its hooks after the end have been run
 */
export type Mark = 'starting' | 'started' | 'ready' | 'ended';

type Marked = Pick<InspectedContainer, 'name' | 'startedAt'>;

/**
 * The agent keeps no database, and the engine lets labels be set at creation only; a container's name, though, can be
 * changed at any time, atomically, and outlives agent, engine and host. So the mark is a suffix of the name:
 * `nap_default_shop_web_1_0a1b2c3d.started-20260101000000123456789`, with the start that it speaks of; the mark of an
 * earlier run says nothing about this one. Nothing else depends on names of containers.
 */
const suffix = /\.(starting|started|ready|ended)-(\d+)$/;

/** The name that says `mark` about the container's present (or last) run. */
export function markedName(container: Marked, mark: Mark): string {
  return `${unmarkedName(container.name)}.${mark}-${runOf(container)}`;
}

/** The mark of the container's present (or last) run; undefined: none yet. */
export function markOf(container: Marked): Mark | undefined {
  const [, mark, run] = suffix.exec(container.name) ?? [];
  return run === runOf(container) ? (mark as Mark) : undefined;
}

export function unmarkedName(name: string): string {
  return name.replace(suffix, '');
}

/** Tells one run of a container from another, in letters that names and labels take. */
export function runOf({ startedAt }: Pick<InspectedContainer, 'startedAt'>): string {
  return startedAt?.replace(/\D/g, '') ?? '0';
}
