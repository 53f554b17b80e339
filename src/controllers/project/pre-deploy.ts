import { runAnnotation } from '../../api/v1alpha1/group.ts';
import type { Service } from '../../api/v1alpha1/service.ts';
import { findCondition, isTrue } from '../../kube/conditions.ts';
import type { Revision, UpdateFailure } from './release.ts';

/** The pre-deploy job of a revision, which has to succeed before anything else of it is made or changed. */
export interface Gate {
  /** Name of the service in the project. */
  readonly service: string;
  /** What its run is called: of a revision that is tried again, another one. */
  readonly run: string;
  /** It has succeeded once for this revision. */
  readonly passed: boolean;
}

/** The gate of a revision; undefined: it has none. @param spec of the revision */
export function gateOf(
  spec: { readonly preDeploy?: unknown },
  revision: Revision,
): Gate | undefined {
  const service = spec.preDeploy;
  if (typeof service !== 'string') return undefined;
  return { service, run: runIdOf(revision), passed: hasPassed(revision) };
}

/** What the pre-deploy job's Service says of a revision's run. */
export type GateReport =
  | { readonly type: 'running'; readonly message: string }
  | { readonly type: 'passed' }
  | ({ readonly type: 'failed' } & UpdateFailure);

/** How the run of a gate stands. @param object the job's Service */
export function gateReport({ service, run }: Gate, object: Service | undefined): GateReport {
  const { status } = object ?? {};
  const isIts =
    object?.metadata.annotations?.[runAnnotation] === run &&
    status?.run === run &&
    status.observedGeneration === object.metadata.generation;
  if (!isIts) return { type: 'running', message: 'not started yet' };
  if (isTrue(status.conditions, 'Complete')) return { type: 'passed' };
  const failed = findCondition(status.conditions, 'Failed');
  if (failed?.status === 'True') {
    const message = `pre-deploy job failed: ${failed.reason}: ${failed.message}`;
    return { type: 'failed', service, message };
  }
  const ready = findCondition(status.conditions, 'Ready');
  return { type: 'running', message: ready?.message ?? 'no status yet' };
}

/** Revisions of before, that have been ready once, have no mark: what it would have prepared is there. */
function hasPassed({ preDeployedAt, readyAt }: Revision): boolean {
  return preDeployedAt !== undefined || readyAt !== undefined;
}

function runIdOf({ number, failed }: Revision): string {
  return failed === undefined ? String(number) : `${String(number)}.${String(failed.generation)}`;
}
