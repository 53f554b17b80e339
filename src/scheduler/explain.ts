import type { Check } from './filter.ts';
import type { HostState } from './host-state.ts';

/**
 * `0/3 hosts fit: 2 lack label region=us-east-1, 1 is cordoned`: each refused host counts once, for the first filter
 * that refuses it; the most frequent cause first, equal ones in the order of the filters.
 */
export function explain(checks: readonly Check[], hosts: readonly HostState[]): string {
  const total = hosts.length;
  if (total === 0) return '0/0 hosts fit: no host has joined';
  const causes = checks.map((check) => ({ check, counts: new Map<string, number>() }));
  let fitting = 0;
  for (const host of hosts) {
    const cause = causes.find(({ check }) => !check.check(host));
    if (cause === undefined) {
      fitting += 1;
      continue;
    }
    const detail = cause.check.detail?.(host) ?? '';
    cause.counts.set(detail, (cause.counts.get(detail) ?? 0) + 1);
  }
  const parts = causes.flatMap(({ check, counts }, order) =>
    [...counts].map(([detail, n]) => ({ n, order, text: check.explain(n, detail) })),
  );
  // The text decides last, so that the sentence does not depend on the order of hosts.
  parts.sort((a, b) => b.n - a.n || a.order - b.order || (a.text < b.text ? -1 : 1));
  const why = parts.map((part) => part.text).join(', ');
  return `${String(fitting)}/${String(total)} hosts fit${why === '' ? '' : `: ${why}`}`;
}
