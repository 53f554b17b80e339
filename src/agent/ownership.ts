import { labels } from '../api/v1alpha1/group.ts';
import { seatKey } from '../api/v1alpha1/seat.ts';
import type { InstanceKey } from '../registry/records/index.ts';
import type { InspectedContainer } from './docker/engine.ts';
import { parseStopHooks, type StopHooks } from './hooks/stop-hooks.ts';

/** A container that this host's agent made, as the engine sees it. */
export interface OwnedContainer extends InspectedContainer {
  readonly key: InstanceKey;
  readonly placementId: string;
  readonly specHash: string;
  /** What it has to do at its end. */
  readonly stopHooks?: StopHooks;
  /** It is not an instance, but runs a hook of one. */
  readonly hook?: HookIdentity;
  /** It may run only while the host is licensed to. */
  readonly fenced?: true;
}

/** Which hook a container runs. */
export interface HookIdentity {
  readonly phase: string;
  /** Of the hook among those of its phase. */
  readonly index: number;
  /** The container that it belongs to, and the run of that (hooks/mark.ts). */
  readonly containerId: string;
  readonly run: string;
}

/**
 * The container with what its labels say, or undefined when it is not this host's: another host's name in the
 * label (a second agent on the same engine, or labels copied by hand), or labels too incomplete to tell which
 * instance it is. What cannot be identified is never touched.
 */
export function ownedContainer(
  container: InspectedContainer,
  host: string,
): OwnedContainer | undefined {
  const label = (name: string): string => container.labels[name] ?? '';
  if (label(labels.host) !== host) return undefined;
  const key = {
    namespace: label(labels.namespace),
    project: label(labels.project),
    service: label(labels.service),
    ordinal: seatKey(label(labels.ordinal), label(labels.seat) === 'b'),
  };
  const placementId = label(labels.instance);
  const specHash = label(labels.specHash);
  const complete = [...Object.values(key), label(labels.ordinal), placementId, specHash].every(
    (v) => v !== '' && !v.includes('/'),
  );
  if (!complete) return undefined;
  const hook = hookIdentity(container.labels[labels.hook], label(labels.hookOf));
  const stopHooks = parseStopHooks(container.labels[labels.stopHooks]);
  const isFenced = label(labels.fencing) === 'stop';
  return {
    ...container,
    key,
    placementId,
    specHash,
    ...(stopHooks !== undefined && { stopHooks }),
    ...(hook !== undefined && { hook }),
    ...(isFenced && { fenced: true }),
  };
}

/** The labels of a hook's container. */
export function hookLabels({
  phase,
  index,
  containerId,
  run,
}: HookIdentity): Record<string, string> {
  return {
    [labels.hook]: `${phase}/${String(index)}`,
    [labels.hookOf]: `${containerId}/${run}`,
  };
}

function hookIdentity(which: string | undefined, whose: string): HookIdentity | undefined {
  if (which === undefined) return undefined;
  const [phase = '', index] = which.split('/');
  const [containerId = '', run = ''] = whose.split('/');
  return { phase, index: Number(index), containerId, run };
}
