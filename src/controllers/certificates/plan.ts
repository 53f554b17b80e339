import type { AcmeOrderRecord } from '../../registry/records/acme.ts';
import type { ObtainedCertificate } from '../routes/resolve.ts';
import type { CertificateWish } from '../routes/route-table.ts';
import type { AcmeError } from './acme-error.ts';

/** Orders that are worked on at the same time. */
export const mostAtOnce = 4;

/** What is known when it is decided which certificates to obtain. Times in milliseconds since the epoch. */
export interface CertificateFacts {
  readonly nowMs: number;
  /** URL of the authority's directory. */
  readonly directory: string;
  /** One for each host. */
  readonly wishes: Iterable<CertificateWish>;
  /** By host. */
  readonly orders: ReadonlyMap<string, AcmeOrderRecord>;
  /** The host of each challenge that routers answer, by token. */
  readonly challenges: ReadonlyMap<string, string>;
  /** Hosts that are worked on. */
  readonly running: ReadonlySet<string>;
  /** The authority is left alone until then. */
  readonly pausedUntilMs: number;
  /** Any router runs that could answer. */
  readonly routers: boolean;
}

/** What is to be done. */
export interface CertificatePlan {
  /** Certificates to be worked on from now on. */
  readonly start: readonly CertificateWish[];
  /** Hosts that are worked on and that nobody asks for any more. */
  readonly stop: readonly string[];
  /** Hosts whose records say nothing any more. */
  readonly forgetOrders: readonly string[];
  /** Tokens that nobody will ask for any more. */
  readonly forgetChallenges: readonly string[];
  /** When there may be something to do again, if nothing else happens; absent: never. */
  readonly nextAtMs?: number;
}

/** Decides which certificates to obtain now. Pure. */
export function planCertificates(facts: CertificateFacts): CertificatePlan {
  const { nowMs, directory, orders, challenges, running, pausedUntilMs, routers } = facts;
  const wishes = new Map([...facts.wishes].map((wish) => [wish.host, wish]));
  const due: CertificateWish[] = [];
  const forgetOrders = new Set([...orders.keys()].filter((host) => !wishes.has(host)));
  let nextAtMs = Infinity;
  for (const wish of wishes.values()) {
    const { host, certificate } = wish;
    if (running.has(host) || wish.unreadable || wish.foreign) continue;
    const order = orderOf(orders.get(host), directory);
    const dueMs = dueAt(certificate, directory);
    if (dueMs > nowMs) {
      // It was obtained, and whoever did so had no time left to say so.
      if (orders.has(host)) forgetOrders.add(host);
      nextAtMs = Math.min(nextAtMs, dueMs);
      continue;
    }
    // A router that comes is told of.
    if (!routers) continue;
    const atMs = Math.max(timeOf(order?.retryAt), pausedUntilMs);
    if (atMs > nowMs) nextAtMs = Math.min(nextAtMs, atMs);
    else due.push(wish);
  }
  const urgency = ({ host, certificate }: CertificateWish): number => {
    if (orderOf(orders.get(host), directory)?.order !== undefined) return -Infinity;
    return certificate?.notAfter ?? 0;
  };
  // Infinity - Infinity is no number.
  const before = (a: CertificateWish, b: CertificateWish): number =>
    urgency(a) === urgency(b) ? (a.host < b.host ? -1 : 1) : urgency(a) < urgency(b) ? -1 : 1;
  // Whoever ends makes room for the next one, and that is told of, too.
  const start = due.toSorted(before).slice(0, Math.max(0, mostAtOnce - running.size));
  const active = new Set([...running, ...start.map(({ host }) => host)]);
  return {
    start,
    stop: [...running].filter((host) => !wishes.has(host)),
    forgetOrders: [...forgetOrders].filter((host) => !running.has(host)),
    forgetChallenges: [...challenges].filter(([, host]) => !active.has(host)).map(([t]) => t),
    ...(nextAtMs === Infinity ? {} : { nextAtMs }),
  };
}

/**
 * When another certificate is due, milliseconds since the epoch: at two thirds of its life, as Let's Encrypt asks for; long ago when
 * there is none, or one of another authority; never for one that somebody else has put there.
 */
export function dueAt(certificate: ObtainedCertificate | undefined, directory: string): number {
  if (certificate === undefined) return -Infinity;
  if (certificate.directory === undefined) return Infinity;
  if (certificate.directory !== directory) return -Infinity;
  const { notBefore, notAfter } = certificate;
  return notBefore + ((notAfter - notBefore) * 2) / 3;
}

/** What is known of the order of a host; undefined when it is about another authority. */
export function orderOf(
  record: AcmeOrderRecord | undefined,
  directory: string,
): AcmeOrderRecord | undefined {
  return record?.directory === directory ? record : undefined;
}

/** Let's Encrypt takes 5 failed validations of a host in an hour: 0, 2, 6, 14 and 30 minutes after the first. */
const refusedMs = { base: 120_000, cap: 6 * 3_600_000 };
const awayMs = { base: 10_000, cap: 600_000 };
/** Part of a wait that is added at random, so that many do not come together. */
const jitter = 0.1;

/** What is kept of a try that failed. @param order the URL of the order that is under way @param random in [0, 1) */
export function afterFailure(
  before: AcmeOrderRecord | undefined,
  failure: Pick<AcmeError, 'kind' | 'message' | 'retryAfterMs'>,
  at: { readonly directory: string; readonly order: string | undefined; readonly nowMs: number },
  random: number,
): AcmeOrderRecord {
  const refused = failure.kind === 'refused';
  const failures = (before?.failures ?? 0) + (refused ? 1 : 0);
  const outages = refused ? 0 : (before?.outages ?? 0) + 1;
  const waitMs = Math.max(
    (refused ? growing(refusedMs, failures) : growing(awayMs, outages)) * (1 + jitter * random),
    failure.retryAfterMs ?? 0,
  );
  return {
    directory: at.directory,
    // One that was refused is over.
    ...(refused || at.order === undefined ? {} : { order: at.order }),
    failures,
    outages,
    retryAt: new Date(Math.ceil(at.nowMs + waitMs)).toISOString(),
    problem: failure.message,
  };
}

function growing(
  { base, cap }: { readonly base: number; readonly cap: number },
  n: number,
): number {
  return Math.min(cap, base * 2 ** (n - 1));
}

function timeOf(text: string | undefined): number {
  const ms = Date.parse(text ?? '');
  return Number.isNaN(ms) ? -Infinity : ms;
}
