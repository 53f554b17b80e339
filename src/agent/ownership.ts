import { labels } from '../api/v1alpha1/group.ts';
import { seatKey } from '../api/v1alpha1/seat.ts';
import type { InstanceKey } from '../registry/records/index.ts';
import type { InspectedContainer } from './docker/engine.ts';

/** A container that this host's agent made, as the engine sees it. */
export interface OwnedContainer extends InspectedContainer {
  readonly key: InstanceKey;
  readonly placementId: string;
  readonly specHash: string;
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
  return complete ? { ...container, key, placementId, specHash } : undefined;
}
