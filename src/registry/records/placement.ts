import { z } from 'zod';
import { containerSpec } from '../../api/v1alpha1/container-spec.ts';
import { jsonRecord } from './record-kind.ts';

export type { ContainerSpec, Mount, PortMapping } from '../../api/v1alpha1/container-spec.ts';

/** The decision that an instance runs on a host. Written by the leading operator only. */
export const placementRecord = z.looseObject({
  /** Identity of this instance of the ordinal: a moved or recreated instance has another one. */
  id: z.string(),
  /** UID of the Service object that it was made for. */
  serviceUID: z.string(),
  /** Content hash of `container`. The agent recreates the container when it changes. */
  specHash: z.string(),
  container: containerSpec,
  /** RFC 3339. */
  placedAt: z.string(),
  /** Id of the instance that this one takes over from in an update; gone when it has proved itself. */
  replaces: z.string().optional(),
  /** The one that it replaces still runs, and answers for the ordinal: this one's endpoint has a name of its own. */
  beside: z.boolean().optional(),
  /** Placement ids of the first instances of services that this one has to follow when they are replaced, by service. */
  after: z.record(z.string(), z.string()).optional(),
  /** Of a oneshot: the run that it is part of, see records/run.ts. */
  run: z.string().optional(),
  /** Of a oneshot: its end has been taken note of. It takes no room any more, and is not started again. */
  finished: z.boolean().optional(),
  /** Another instance of the ordinal still stops, on some host: nothing is created before the operator takes this back. */
  hold: z.boolean().optional(),
  /** Of fenced services: the host where the one before it ran, which has to be over before the hold ends. */
  follows: z.string().optional(),
  /** Contents for the container, in the delivery record of the same key: which, and sealed for which key of the host. */
  delivery: z.object({ hash: z.string(), recipient: z.string() }).optional(),
  /** How named volumes are to be made, by the engine's name; absent ones as the engine makes them by itself. */
  volumes: z
    .record(
      z.string(),
      z.object({
        driver: z.string().optional(),
        driverOpts: z.record(z.string(), z.string()).optional(),
        external: z.boolean().optional(),
      }),
    )
    .optional(),
});
export type PlacementRecord = z.infer<typeof placementRecord>;

/** `/nap/v1/placements/<host>/<ns>/<project>/<service>/<ordinal>`; the last segment is a seat, see api/v1alpha1/seat.ts. */
export const placementRecords = jsonRecord(
  'placement',
  '/nap/v1/placements/',
  ['host', 'namespace', 'project', 'service', 'ordinal'],
  placementRecord,
);
