import type { Project } from '../../api/v1alpha1/project.ts';
import type { RevisionRecord } from '../../registry/records/revision.ts';
import { digest } from '../digest.ts';

/** Revisions that are kept besides those in use, if the Project does not say. */
export const defaultHistoryLimit = 10;

/** A kept revision with its number; numbers grow and are never used twice. */
export interface Revision extends RevisionRecord {
  readonly number: number;
}

/** A service of the running revision whose update failed. */
export interface UpdateFailure {
  readonly service: string;
  readonly message: string;
}

export interface ReleaseFacts {
  /** All revisions that are kept of this very Project. */
  readonly revisions: readonly Revision[];
  /** What the services that run revision `running` say; see `planRelease`. */
  readonly failure?: UpdateFailure & { readonly revision: number };
  /** Revision that all services run, ready and settled. */
  readonly ready?: number;
  /** Revision whose pre-deploy job has succeeded. */
  readonly preDeployed?: number;
}

export interface Release {
  /** The Project as it is to run: with the spec of revision `revision`. */
  readonly project: Project;
  readonly revision: number;
  /** Revision that the user asks for. Another one runs only after this one has failed. */
  readonly wanted: number;
  /** Why another revision runs than the one that is asked for, or that it cannot. */
  readonly fallback?: { readonly running: boolean; readonly message: string };
  /** To be written before anything is acted upon. */
  readonly put: readonly Revision[];
  /** Numbers of revisions to be forgotten. */
  readonly remove: readonly number[];
}

/** `spec.rollbackTo` names a revision that is not kept. */
export interface RefusedRelease {
  readonly refused: string;
}

/**
 * Which revision of a project has to run. Pure; all that it depends on is in the Project, the kept revisions and what the
 * services report, so each operator comes to the same result.
 *
 * - What the spec says becomes a new revision when it differs (in more than replicas) from the newest one.
 * - `rollbackTo` runs an old revision as long as it stands there; what the rest of the spec says waits.
 * - A revision that failed is not run: the latest one that has once been ready runs instead, in all services. The spec is
 *   the user's and stays as it is. To try again: change it, or ask for that revision with `rollbackTo`.
 * - A revision that is gone back to and fails too is left as it is: there is no way down from there.
 * - How many replicas run is a matter of the present, not of a revision.
 */
export function planRelease(
  project: Project,
  facts: ReleaseFacts,
  now: string,
): Release | RefusedRelease {
  const { rollbackTo, revisionHistoryLimit = defaultHistoryLimit } = project.spec;
  const generation = project.metadata.generation ?? 0;
  const put = new Map<number, Revision>();
  const revisions = new Map(facts.revisions.map((revision) => [revision.number, revision]));
  const write = (revision: Revision): void => {
    revisions.set(revision.number, revision);
    put.set(revision.number, revision);
  };
  let wanted: number;
  if (rollbackTo !== undefined) {
    if (!revisions.has(rollbackTo)) {
      const kept = [...revisions.keys()].sort((a, b) => a - b).join(', ');
      return {
        refused: `spec.rollbackTo: ${String(rollbackTo)}: there is no such revision; kept are ${kept === '' ? 'none' : kept}`,
      };
    }
    wanted = rollbackTo;
  } else {
    const newest = Math.max(0, ...revisions.keys());
    const spec = contentOf(project);
    const hash = hashOf(spec);
    wanted = revisions.get(newest)?.hash === hash ? newest : newest + 1;
    if (wanted > newest) {
      write({ number: wanted, uid: project.metadata.uid ?? '', hash, spec, createdAt: now });
    }
  }
  const asked = revisions.get(wanted);
  const { failure, ready, preDeployed } = facts;
  const prepared = preDeployed === undefined ? undefined : revisions.get(preDeployed);
  if (prepared !== undefined && prepared.preDeployedAt === undefined) {
    write({ ...prepared, preDeployedAt: now });
  }
  if (asked !== undefined && failure?.revision === wanted && !hasFailed(asked, project)) {
    const { service, message } = failure;
    write({ ...asked, failed: { generation, service, message: message.slice(0, 1000), at: now } });
  }
  const done = ready === undefined ? undefined : revisions.get(ready);
  if (done !== undefined && done.readyAt === undefined) {
    const ready = { ...done, readyAt: now };
    delete ready.failed;
    write(ready);
  }
  const back = failedRun(revisions, wanted, project);
  const revision = back?.to ?? wanted;
  const run = revisions.get(revision);
  return {
    project: run === undefined ? project : withContent(project, run.spec),
    revision,
    wanted,
    ...(back === undefined
      ? {}
      : { fallback: { running: back.to !== undefined, message: back.message } }),
    put: [...put.values()],
    remove: surplus([...revisions.values()], new Set([revision, wanted]), revisionHistoryLimit),
  };
}

/** Whether the revision has failed since the user last asked for it. */
function hasFailed(revision: Revision, project: Project): boolean {
  const { failed } = revision;
  if (failed === undefined) return false;
  const askedAgain =
    project.spec.rollbackTo === revision.number &&
    failed.generation < (project.metadata.generation ?? 0);
  return !askedAgain;
}

/** What to do if the wanted revision has failed. */
function failedRun(
  revisions: ReadonlyMap<number, Revision>,
  wanted: number,
  project: Project,
): { readonly to?: number; readonly message: string } | undefined {
  const asked = revisions.get(wanted);
  if (asked?.failed === undefined || !hasFailed(asked, project)) return undefined;
  const good = [...revisions.values()]
    .filter(({ number, readyAt, failed }) => number !== wanted && readyAt !== undefined && !failed)
    .toSorted((a, b) => (b.readyAt ?? '').localeCompare(a.readyAt ?? '') || b.number - a.number);
  const [best] = good;
  const { service, message } = asked.failed;
  const why = `revision ${String(wanted)} failed: ${service}: ${message}`;
  const again = `to try it again, change the spec or set rollbackTo: ${String(wanted)}`;
  return best === undefined
    ? { message: `${why}; there is no earlier revision to go back to; ${again}` }
    : {
        to: best.number,
        message: `${why}; revision ${String(best.number)} runs instead; ${again}`,
      };
}

/** The oldest revisions beyond the limit. */
function surplus(
  revisions: readonly Revision[],
  inUse: ReadonlySet<number>,
  limit: number,
): number[] {
  const old = revisions
    .map(({ number }) => number)
    .filter((number) => !inUse.has(number))
    .sort((a, b) => b - a);
  return old.slice(limit);
}

/** Fields of the spec that steer the release and are no part of it. */
const steering: ReadonlySet<string> = new Set([
  'paused',
  'rollbackTo',
  'revisionHistoryLimit',
  'rebalance',
  'rebalanceMoves',
  // Who may come in is not taken back with a release that has failed.
  'network',
]);

function contentOf(project: Project): RevisionRecord['spec'] {
  return Object.fromEntries(Object.entries(project.spec).filter(([name]) => !steering.has(name)));
}

/** @param spec a revision's content */
export function hashOf(spec: RevisionRecord['spec']): string {
  const services = Object.entries((spec['services'] ?? {}) as Project['spec']['services']);
  return digest({
    ...spec,
    services: Object.fromEntries(
      services.map(([name, service]) => {
        return [name, without(service, 'replicas')];
      }),
    ),
  });
}

function without<T extends object, K extends string>(object: T, field: K): Omit<T, K> {
  const copy = { ...object };
  Reflect.deleteProperty(copy, field);
  return copy;
}

function withContent(project: Project, spec: RevisionRecord['spec']): Project {
  const content = spec as unknown as Project['spec'];
  const present = project.spec.services;
  const services = Object.entries(content.services).map(([name, service]) => {
    if (!Object.hasOwn(present, name)) return [name, service] as const;
    const rest = without(service, 'replicas');
    const replicas = present[name]?.replicas;
    return [name, replicas === undefined ? rest : { ...rest, replicas }] as const;
  });
  const steer = Object.fromEntries(
    Object.entries(project.spec).filter(([name]) => steering.has(name)),
  );
  return { ...project, spec: { ...content, services: Object.fromEntries(services), ...steer } };
}
