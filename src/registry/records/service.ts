import { z } from 'zod';
import { jsonRecord } from './record-kind.ts';

const port = z.int().min(1).max(65_535);

/** What every host must know of a service to resolve names for and to it. Written by the leading operator. */
export const serviceRecord = z.looseObject({
  /** UID of the Service object. */
  uid: z.string(),
  ports: z.array(z.object({ port: z.int(), protocol: z.enum(['tcp', 'udp', 'sctp']) })),
  /** Names under which this service's instances may look up another service: of their project, if none is given. */
  links: z.array(
    z.object({ service: z.string(), alias: z.string(), project: z.string().optional() }),
  ),
  /** IPv4 address that stands for all instances, for as long as the service exists. Absent: its name means its instances. */
  virtualIP: z.string().optional(),
  /** Ports that every host answers on, and the ports of the instances that they lead to. */
  mesh: z
    .array(z.object({ port: port, protocol: z.enum(['tcp', 'udp']), target: port }))
    .optional(),
  /** How long connections to an instance that has to go may go on, milliseconds. Absent: the default. */
  drainMs: z.int().optional(),
  /** `clientIP`; absent: each connection goes to any instance. */
  sessionAffinity: z.string().optional(),
  /** `preferLocal`; absent: instances on all hosts alike. */
  trafficPolicy: z.string().optional(),
  /** `strict` or `open`; absent: `private`. Any other word: `strict`. See network/isolation/isolation.ts. */
  isolation: z.string().optional(),
  /** It has routes: the routers may come in, too. */
  routed: z.boolean().optional(),
  /** Service of the same project that it is a run of, and counts as for isolation. */
  memberOf: z.string().optional(),
});
export type ServiceRecord = z.infer<typeof serviceRecord>;

/** `/nap/v1/services/<ns>/<project>/<service>` */
export const serviceRecords = jsonRecord(
  'service',
  '/nap/v1/services/',
  ['namespace', 'project', 'service'],
  serviceRecord,
);
