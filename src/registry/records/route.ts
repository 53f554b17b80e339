import { z } from 'zod';
import { jsonRecord } from './record-kind.ts';

/** Names a content in the route secrets of a host: hexadecimal, since it becomes a file's name. */
const contentHash = z.string().regex(/^[0-9a-f]{16,128}$/);

/** One route that is in force. */
const route = z.looseObject({
  host: z.string(),
  /** Without a slash at its end, except for the root. */
  path: z.string(),
  /** Of the containers; absent with `redirectTo`. */
  port: z.int().optional(),
  redirectTo: z.string().optional(),
  /** `certificate`: content of a route secret: certificates and key, PEM. */
  tls: z.object({ certificate: contentHash, redirect: z.boolean() }).optional(),
  /** Content of a route secret: lines USER:HASH. */
  users: contentHash.optional(),
  timeoutMs: z.int(),
  maxBodyBytes: z.int().optional(),
});
export type RouteRecord = z.infer<typeof route>;

/** The routes of a service that are in force, for the routers. Written by the leading operator. */
export const serviceRoutesRecord = z.looseObject({ routes: z.array(route) });

/** `/nap/v1/routes/<ns>/<project>/<service>` */
export const routeRecords = jsonRecord(
  'route',
  '/nap/v1/routes/',
  ['namespace', 'project', 'service'],
  serviceRoutesRecord,
);

/**
 * What a router needs to know and others may not: a certificate with its key, or names with the hashes of their passwords;
 * sealed for a host on which a router runs (registry/seal.ts). Written and removed by the leading operator.
 */
export const routeSecretRecord = z.looseObject({
  /** Fingerprint of the key that it was sealed for. */
  recipient: z.string(),
  sealed: z.string(),
});
export type RouteSecretRecord = z.infer<typeof routeSecretRecord>;

/** `/nap/v1/route-secrets/<host>/<hash>` */
export const routeSecretRecords = jsonRecord(
  'route secret',
  '/nap/v1/route-secrets/',
  ['host', 'hash'],
  routeSecretRecord,
);
