import { z } from 'zod';
import { jsonRecord } from './record-kind.ts';

/** What every host must know of a service to resolve names for and to it. Written by the leading operator. */
export const serviceRecord = z.looseObject({
  /** UID of the Service object. */
  uid: z.string(),
  ports: z.array(z.object({ port: z.int(), protocol: z.enum(['tcp', 'udp', 'sctp']) })),
  /** Names under which this service's instances may look up another service of their project. */
  links: z.array(z.object({ service: z.string(), alias: z.string() })),
});
export type ServiceRecord = z.infer<typeof serviceRecord>;

/** `/nap/v1/services/<ns>/<project>/<service>` */
export const serviceRecords = jsonRecord(
  'service',
  '/nap/v1/services/',
  ['namespace', 'project', 'service'],
  serviceRecord,
);
