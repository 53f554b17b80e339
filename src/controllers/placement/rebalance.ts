import { Pipeline, type ClusterState, type InstanceRequest } from '../../scheduler/index.ts';
import type { HostState } from '../../scheduler/host-state.ts';
import { preferenceCost } from '../../scheduler/strategies/preferring.ts';
import type { Placed } from './types.ts';

/** A service whose instances may change their hosts. */
export interface MovableService {
  readonly key: string;
  /** What one instance asks for. */
  readonly request: Omit<InstanceRequest, 'id'>;
  readonly placed: readonly Placed[];
}

/** One move that makes hosts more equal. */
export interface Move {
  readonly service: string;
  readonly placed: Placed;
  readonly to: string;
  /** "a has 4 of the service, b none" */
  readonly reason: string;
}

/**
 * Moves that make hosts more equal, the best first, at most `limit`. What counts is what the strategy spread counts: first
 * the instances of the service, then all instances. A move is proposed when its host has at least two more of the service
 * than the other one; or one more, and at least two more of all. So each move makes the differences smaller, and after
 * finitely many there is none left. A move never breaks a rule, and never costs more in preferences.
 *
 * The state is changed while planning, and is as before when the function returns.
 */
export function planRebalance(
  services: readonly MovableService[],
  state: ClusterState,
  limit: number,
): Move[] {
  const moves: Move[] = [];
  const moved: { readonly service: MovableService; readonly placed: Placed }[] = [];
  for (const service of services) {
    const left = new Set(service.placed);
    while (moves.length < limit) {
      const move = bestMove(service, [...left], state);
      if (move === undefined) break;
      const { placed } = move;
      left.delete(placed);
      moves.push(move);
      moved.push({ service, placed });
      state.place({ ...service.request, id: placed.path }, move.to);
    }
  }
  for (const { service, placed } of moved) {
    state.place({ ...service.request, id: placed.path }, placed.host);
  }
  return moves;
}

function bestMove(
  { key, request, placed }: MovableService,
  candidates: readonly Placed[],
  state: ClusterState,
): Move | undefined {
  const counts = state.countsOf(key);
  const of = (host: HostState): number => counts.get(host) ?? 0;
  const sources = candidates
    .map((p) => ({ p, host: state.host(p.host) }))
    .filter((source): source is { p: Placed; host: HostState } => source.host !== undefined)
    .toSorted(
      (a, b) =>
        of(b.host) - of(a.host) || b.host.instances - a.host.instances || b.p.ordinal - a.p.ordinal,
    );
  const source = sources[0];
  if (source === undefined || placed.length === 0) return undefined;
  const { p, host: from } = source;
  const better = state.hosts
    .filter((host) => {
      const difference = of(from) - of(host);
      return difference > 1 || (difference === 1 && from.instances - host.instances > 1);
    })
    .toSorted((a, b) => of(a) - of(b) || a.instances - b.instances || (a.name < b.name ? -1 : 1));
  if (better.length === 0) return undefined;
  const { rules } = request;
  const before = [...counts];
  state.unplace(p.path);
  const pipeline = new Pipeline({ ...request, id: p.path }, state);
  const alone = state.rivalry.declares(key, key);
  const most = alone ? 1 : (rules.maxPerHost ?? Infinity);
  const cost = (host: HostState): number =>
    preferenceCost(
      rules.preferences ?? [],
      host,
      before.map(([at, n]) => [at, at === from ? n - 1 : n] as const),
    );
  const to = better.find(
    (host) => of(host) < most && pipeline.fits(host) && cost(host) <= cost(from),
  );
  state.place({ ...request, id: p.path }, from.name);
  if (to === undefined) return undefined;
  const reason =
    of(from) - of(to) > 1
      ? `${from.name} has ${String(of(from))} of the service, ${to.name} ${String(of(to))}`
      : `${from.name} has ${String(from.instances)} instances, ${to.name} ${String(to.instances)}`;
  return { service: key, placed: p, to: to.name, reason };
}
