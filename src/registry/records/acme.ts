import { z } from 'zod';
import { jsonRecord } from './record-kind.ts';

/**
 * How a certificate is obtained with HTTP-01 (RFC 8555, 8.3):
 *
 * 1. The leading operator notes the *order* that it has placed, so that its successor goes on with that one.
 * 2. It writes a *challenge* record; every router answers it, and its agent says so in its *answered* record.
 * 3. When the routers answer, the operator tells the authority to look, has the certificate issued, and keeps it in a Secret.
 */
export const acmeOrderRecord = z.looseObject({
  /** URL of the directory of the authority that all this is about. */
  directory: z.string(),
  /** URL of an order that is under way. */
  order: z.string().optional(),
  /** Orders that the authority has refused since the last certificate. */
  failures: z.int().nonnegative().default(0),
  /** Tries since then that came to no answer. */
  outages: z.int().nonnegative().default(0),
  /** Not to be tried again before; RFC 3339. */
  retryAt: z.string().optional(),
  /** What the last try failed with, for people. */
  problem: z.string().optional(),
});
export type AcmeOrderRecord = z.infer<typeof acmeOrderRecord>;

/** `/nap/v1/acme/orders/<host name>`. Written by the leading operator. */
export const acmeOrderRecords = jsonRecord(
  'ACME order',
  '/nap/v1/acme/orders/',
  ['name'],
  acmeOrderRecord,
);

/** What a router is to say. Not secret: it is told to whoever asks. */
export const acmeChallengeRecord = z.looseObject({
  host: z.string(),
  keyAuthorization: z.string(),
});
export type AcmeChallengeRecord = z.infer<typeof acmeChallengeRecord>;

/** `/nap/v1/acme/challenges/<token>`. Written and removed by the leading operator. */
export const acmeChallengeRecords = jsonRecord(
  'ACME challenge',
  '/nap/v1/acme/challenges/',
  ['token'],
  acmeChallengeRecord,
);

/** The challenges that the router of a host answers now. */
export const acmeAnsweredRecord = z.looseObject({ tokens: z.array(z.string()) });

/** `/nap/v1/acme/answered/<host>`. Rides on the lease of the host's agent; absent while there is nothing to answer. */
export const acmeAnsweredRecords = jsonRecord(
  'answered ACME challenges',
  '/nap/v1/acme/answered/',
  ['host'],
  acmeAnsweredRecord,
);
