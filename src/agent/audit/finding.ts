import type { TableOp } from '../../network/overlay/vxlan.ts';

/** What an audit looks at on a host. */
export const findingKinds = [
  'device',
  'tunnel',
  'tunnel-peer',
  'route',
  'neighbour',
  'forwarding',
  'chain',
  'element',
  'docker-chain',
  'sysctl',
  'bridge',
  'dns',
  'router',
] as const;
export type FindingKind = (typeof findingKinds)[number];

/** Something on this host that was not as the registry says, and has been put right. */
export interface Finding {
  readonly kind: FindingKind;
  /** In words, for people. */
  readonly what: string;
  /** How many things were wrong in this way. Default 1. */
  readonly count?: number;
}

/** A finding for each line that says what was put right. */
export function findings(kind: FindingKind, whats: readonly string[]): readonly Finding[] {
  return whats.map((what) => ({ kind, what }));
}

const tables = { route: 'routes', neighbour: 'neighbours', forwarding: 'forwarding entries' };

/** What differing tables mean: one finding for each table. */
export function tableFindings(ops: readonly TableOp[]): readonly Finding[] {
  return (['route', 'neighbour', 'forwarding'] as const).flatMap((kind) => {
    const count = ops.filter(({ type }) => type.endsWith(kind)).length;
    return count === 0 ? [] : [{ kind, count, what: `${tables[kind]} of the overlay restored` }];
  });
}
