import type { DesiredInstance } from '../../src/agent/desired.ts';
import type { OwnedContainer } from '../../src/agent/ownership.ts';
import {
  placementRecords,
  type ContainerSpec,
  type PlacementRecord,
} from '../../src/registry/records/index.ts';

/** The instance that unit tests of the agent are about. */
export const webKey = {
  namespace: 'default',
  project: 'shop',
  service: 'web',
  ordinal: '1',
} as const;

/** What the operator writes for a service that asks for nothing but an image. */
export function containerSpec(over: Partial<ContainerSpec> = {}): ContainerSpec {
  return {
    image: 'shop/web:1',
    environment: {},
    ports: [],
    mounts: [],
    labels: {},
    hostname: 'h',
    pullPolicy: 'missing',
    restart: 'always',
    stopGracePeriodMs: 5000,
    limits: {},
    reservations: {},
    ...over,
  };
}

/** `web` as it is placed on host h1. */
export function desiredInstance(
  container: Partial<ContainerSpec> = {},
  placement: Partial<PlacementRecord> = {},
): DesiredInstance {
  const { id, specHash } = { id: 'a', specHash: '1', ...placement };
  return {
    key: webKey,
    id,
    specHash,
    path: placementRecords.path({ host: 'h1', ...webKey }),
    modRevision: 1n,
    placement: {
      serviceUID: 'u',
      placedAt: '2026-01-01T00:00:00.000Z',
      ...placement,
      id,
      specHash,
      container: containerSpec(container),
    },
  };
}

/** The container of that placement, running since it was placed. */
export function ownedContainer(over: Partial<OwnedContainer> = {}): OwnedContainer {
  return {
    id: 'c1',
    name: 'nap_x',
    state: 'running',
    labels: {},
    key: webKey,
    placementId: 'a',
    specHash: '1',
    addresses: { nap: '10.77.1.2' },
    dns: ['10.77.1.1'],
    exitCode: 0,
    oomKilled: false,
    error: '',
    restartCount: 0,
    startedAt: '2026-01-01T00:00:00.000Z',
    finishedAt: undefined,
    stopGraceMs: 5000,
    ...over,
  };
}
