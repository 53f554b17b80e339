import type { ClusterState } from './cluster-state.ts';
import type { HostState } from './host-state.ts';
import { hashString, mixHashes, seededRandom } from './hash.ts';
import { Pipeline } from './pipeline.ts';
import { binpack } from './strategies/binpack.ts';
import { preferring } from './strategies/preferring.ts';
import { random } from './strategies/random.ts';
import { spread } from './strategies/spread.ts';
import type { Strategy } from './strategy.ts';
import type { Decision, InstanceRequest, StrategyName } from './types.ts';

const strategies: Readonly<Record<StrategyName, Strategy>> = { spread, binpack, random };

export interface ScheduleOptions {
  /** The same seed, cluster and requests give the same decisions. Default 0. */
  readonly seed?: number;
}

/**
 * Finds hosts for a batch of instances and places them in `state` at once; whoever fails to carry a decision out must
 * `unplace` it again. A request whose id is placed already is decided anew. Ids must differ within a batch.
 *
 * Requests that ask for the same (service, reservation, ports, rules) are decided together, in the order in which the first
 * of each kind comes, but after the service that they have to be beside (`machineOf`); the decisions come in the order of the requests. They do not depend on the order in which hosts
 * joined. A request stays without a host only if no host fits at its turn.
 *
 * Costs O(kinds × hosts + requests × log hosts). The idea is swarmkit's: one heap of hosts for one group of equal tasks.
 */
export function schedule<R extends InstanceRequest>(
  state: ClusterState,
  requests: readonly R[],
  options: ScheduleOptions = {},
): Decision<R>[] {
  const seed = options.seed ?? 0;
  const nextRandom = seededRandom(seed);
  const decisions = new Array<Decision<R>>(requests.length);
  /** Shapes that no host took. Nothing gets freer during a batch, so the next of that shape need not look. */
  const hopeless = new Map<string, string>();
  // All at once: nothing may get freer while a group is being placed.
  for (const request of requests) state.unplace(request.id);
  for (const group of leadersFirst([...groupRequests(requests)])) {
    const known = hopeless.get(group.shape);
    const explanation =
      known ?? placeGroup(state, group, decisions, hopeless, { seed, random: nextRandom });
    if (explanation === undefined) continue;
    for (const { request, index } of group.members) {
      decisions[index] ??= { request, explanation };
    }
  }
  return decisions;
}

interface Member<R> {
  readonly request: R;
  readonly index: number;
}

/** Places what fits; gives the reason why the rest does not, or undefined when all did. */
function placeGroup<R extends InstanceRequest>(
  state: ClusterState,
  { members, shape }: Group<R>,
  decisions: Decision<R>[],
  hopeless: Map<string, string>,
  source: { readonly seed: number; readonly random: () => number },
): string | undefined {
  const first = members[0]?.request;
  if (first === undefined) return undefined;
  const pipeline = new Pipeline(first, state);
  const fits = pipeline.fits.bind(pipeline);
  // A copy: the live map changes as instances are placed.
  const before = [...state.countsOf(first.service)];
  for (const [host, count] of before) host.ofService = count;
  const touched = new Set(before.map(([host]) => host));
  const { strategy: name, preferences = [] } = first.rules;
  const strategy =
    preferences.length === 0 ? strategies[name] : preferring(preferences, strategies[name]);
  const selection = strategy(candidates(first, state), {
    choices: members.length,
    tieHash: mixHashes(source.seed, hashString(first.service)),
    random: source.random,
  });
  let explanation: string | undefined;
  for (const { request, index } of members) {
    const host = selection.next(fits);
    if (host === undefined) {
      explanation = pipeline.explain(state.hosts);
      if (!pipeline.isOfService) hopeless.set(shape, explanation);
      break;
    }
    state.place(request, host.name);
    host.ofService += 1;
    touched.add(host);
    selection.placed(host);
    decisions[index] = { request, host: host.name };
  }
  for (const host of touched) host.ofService = 0;
  return explanation;
}

/** Hosts that need looking at: many requests for one host each must not cost a look at all hosts each. */
function candidates(request: InstanceRequest, state: ClusterState): readonly HostState[] {
  if (request.only === undefined) return state.hosts;
  const host = state.host(request.only.host);
  return host?.info === undefined ? [] : [host];
}

/** The same groups, those of a service that others have to be beside before those others. */
function leadersFirst<R extends InstanceRequest>(groups: readonly Group<R>[]): readonly Group<R>[] {
  if (groups.every(({ members }) => members[0]?.request.rules.machineOf === undefined))
    return groups;
  const byService = new Map<string, Group<R>[]>();
  for (const group of groups) {
    const service = group.members[0]?.request.service ?? '';
    byService.set(service, [...(byService.get(service) ?? []), group]);
  }
  const ordered = new Set<Group<R>>();
  const begun = new Set<Group<R>>();
  for (const start of groups) {
    // The chain from the start to its last leader, then back; a ring is left where it closes.
    const stack = [start];
    while (stack.length > 0) {
      const group = stack.at(-1);
      if (group === undefined) break;
      const leaders = group.members[0]?.request.rules.machineOf ?? [];
      const before = begun.has(group)
        ? []
        : leaders
            .flatMap((leader) => byService.get(leader) ?? [])
            .filter((other) => !begun.has(other));
      begun.add(group);
      if (before.length > 0) stack.push(...before);
      else {
        ordered.add(group);
        stack.pop();
      }
    }
  }
  return [...ordered];
}

interface Group<R> {
  /** All that decides whether a host fits. */
  readonly shape: string;
  readonly members: Member<R>[];
}

function groupRequests<R extends InstanceRequest>(requests: readonly R[]): Iterable<Group<R>> {
  const groups = new Map<string, Group<R>>();
  // Callers make one service's requests from one spec: the same parts need not be written out again.
  let last: { readonly request: R; readonly group: Group<R> } | undefined;
  for (const [index, request] of requests.entries()) {
    let group = last !== undefined && sameParts(last.request, request) ? last.group : undefined;
    if (group === undefined) {
      const shape = shapeOf(request);
      const { strategy, preferences } = request.rules;
      const preferred = preferences === undefined ? '' : JSON.stringify(preferences);
      const key = `${request.service}\n${strategy}\n${preferred}\n${shape}`;
      group = groups.get(key);
      if (group === undefined) groups.set(key, (group = { shape, members: [] }));
    }
    group.members.push({ request, index });
    last = { request, group };
  }
  return groups.values();
}

function sameParts(a: InstanceRequest, b: InstanceRequest): boolean {
  return (
    a.service === b.service &&
    a.rules === b.rules &&
    a.only === b.only &&
    a.ports === b.ports &&
    a.reservation === b.reservation
  );
}

function shapeOf(request: InstanceRequest): string {
  const { reservation, ports, rules } = request;
  const labels = Object.entries(rules.machineMetadata ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([
    reservation.cpuMillis,
    reservation.memoryBytes,
    ports.map((port) => [port.port, port.protocol, port.ip ?? null]),
    labels,
    rules.machineID ?? null,
    rules.machineOf ?? null,
    rules.maxPerHost ?? null,
    rules.conflicts ?? null,
    request.only?.host ?? null,
  ]);
}
