import { z } from 'zod';
import { jsonRecord } from './record-kind.ts';

/**
 * An address that serves, for as long as it serves. Written by the host's agent on its lease; read by every agent's
 * DNS, by confd-style tools and by people, so its form is a public promise.
 */
export const endpointRecord = z.looseObject({
  host: z.string(),
  ipv4_addr: z.string(),
  /** Absent: the overlay carries IPv4 only, or the instance has no address in IPv6 (yet). */
  ipv6_addr: z.string().optional(),
  /** The first declared container port; absent when the service declares none. */
  port: z.int().optional(),
  ports: z.array(z.object({ port: z.int(), protocol: z.enum(['tcp', 'udp', 'sctp']) })),
});
export type EndpointRecord = z.infer<typeof endpointRecord>;

/** `/services/<ns>/<project>/<service>/<ordinal>` */
export const endpointRecords = jsonRecord(
  'endpoint',
  '/services/',
  ['namespace', 'project', 'service', 'ordinal'],
  endpointRecord,
);
