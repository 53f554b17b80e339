import type { HostState } from '../host-state.ts';
import { labelsMatch } from '../labels.ts';
import type { Selection, Strategy } from '../strategy.ts';
import type { Preference } from '../types.ts';

/** Hosts between which the preferences see no difference. */
interface Bucket {
  readonly hosts: HostState[];
  selection?: Selection;
  /** Of the labels that it does not have. */
  readonly fixedCost: number;
  /** Instances of the service on hosts with the same value of each label to spread over; shared between buckets. */
  readonly counts: readonly { readonly weight: number; readonly tally: { n: number } }[];
}

/**
 * Puts soft rules before a strategy: a choice falls on the hosts that cost least, and among those on the one that the
 * strategy takes. Hosts that cost the same in every respect share a bucket with a selection of its own, so a choice costs
 * O(buckets) more than the strategy's: zones are few, and in the worst case (a label of its own for each host) it is
 * O(hosts). Spreading over labels is swarmkit's idea (its design/topology.md); there preferences form a tree, here they
 * are weighed.
 */
export function preferring(preferences: readonly Preference[], strategy: Strategy): Strategy {
  return (hosts, context) => {
    const buckets = new Map<string, Bucket>();
    const bucketOf = new Map<HostState, Bucket>();
    const tallies = new Map<string, { n: number }>();
    for (const host of hosts) {
      const key = keyOf(preferences, host);
      let bucket = buckets.get(key);
      if (bucket === undefined) {
        bucket = {
          hosts: [],
          fixedCost: fixedCost(preferences, host),
          counts: spreads(preferences).map(({ spread, weight }) => {
            const at = JSON.stringify([spread, valueOf(host, spread)]);
            const tally = tallies.get(at) ?? { n: 0 };
            tallies.set(at, tally);
            return { weight, tally };
          }),
        };
        buckets.set(key, bucket);
      }
      bucket.hosts.push(host);
      bucketOf.set(host, bucket);
    }
    // What is there already; one label may be named twice, and its tally is counted once.
    for (const [host, bucket] of bucketOf) {
      if (host.ofService > 0) count(bucket, host.ofService);
    }
    const open = new Set(buckets.values());
    return {
      next(fits) {
        for (;;) {
          const best = cheapest(open);
          if (best === undefined) return undefined;
          best.selection ??= strategy(best.hosts, context);
          const host = best.selection.next(fits);
          if (host !== undefined) return host;
          open.delete(best);
        }
      },
      placed(host) {
        const bucket = bucketOf.get(host);
        if (bucket === undefined) return;
        count(bucket, 1);
        bucket.selection?.placed(host);
      },
    };
  };
}

/**
 * What the preferences have against a host, given how many instances of the service are where: for comparing two hosts.
 * @param hosts all hosts that count for spreading
 */
export function preferenceCost(
  preferences: readonly Preference[],
  host: HostState,
  countsOf: Iterable<readonly [HostState, number]>,
): number {
  const counts = [...countsOf];
  return spreads(preferences).reduce(
    (sum, { spread, weight }) => {
      const value = valueOf(host, spread);
      const n = counts
        .filter(([other]) => valueOf(other, spread) === value)
        .reduce((total, [, here]) => total + here, 0);
      return sum + weight * n;
    },
    fixedCost(preferences, host),
  );
}

function count(bucket: Bucket, n: number): void {
  for (const tally of new Set(bucket.counts.map((entry) => entry.tally))) tally.n += n;
}

function cheapest(buckets: Iterable<Bucket>): Bucket | undefined {
  let best: Bucket | undefined;
  let least = Infinity;
  for (const bucket of buckets) {
    const cost = bucket.counts.reduce(
      (sum, { weight, tally }) => sum + weight * tally.n,
      bucket.fixedCost,
    );
    // Hosts come by name, and so do buckets, by their first host: of equal ones the first stays.
    if (cost < least) [best, least] = [bucket, cost];
  }
  return best;
}

function fixedCost(preferences: readonly Preference[], host: HostState): number {
  return preferences.reduce(
    (sum, preference) =>
      'spread' in preference || labelsMatch(host.info?.labels ?? {}, preference.machineMetadata)
        ? sum
        : sum + preference.weight,
    0,
  );
}

function spreads(preferences: readonly Preference[]) {
  return preferences.filter((preference) => 'spread' in preference);
}

function keyOf(preferences: readonly Preference[], host: HostState): string {
  return JSON.stringify(
    preferences.map((preference) =>
      'spread' in preference
        ? valueOf(host, preference.spread)
        : labelsMatch(host.info?.labels ?? {}, preference.machineMetadata),
    ),
  );
}

/** Hosts without the label are equal in that. */
function valueOf(host: HostState, label: string): string | null {
  const labels = host.info?.labels ?? {};
  return Object.hasOwn(labels, label) ? (labels[label] ?? null) : null;
}
