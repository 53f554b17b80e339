import type { Condition } from '../../api/v1alpha1/conditions.ts';
import { formatByteSizeRounded } from '../../api/v1alpha1/byte-size.ts';
import { formatCpuQuantity } from '../../api/v1alpha1/cpu-quantity.ts';
import type { HostStatus } from '../../api/v1alpha1/host.ts';
import type { HostRecord } from '../../registry/records/host.ts';
import { mergeConditions, type ConditionClaim } from '../conditions.ts';
import { drainedCondition } from './drain.ts';
import type { HostStanding } from '../placement/types.ts';

/** Type of the condition that tells how a host's network compares with the registry. */
export const networkCondition = 'NetworkReady';

/** What is known of a host. */
export interface HostFacts {
  readonly standing: HostStanding;
  /** The agent's record, or the last one that was seen. */
  readonly record?: HostRecord;
  readonly unschedulable: boolean;
  readonly instances: number;
  readonly allocated: { readonly cpuMillis: number; readonly memoryBytes: number };
  /** The agent said that it would be away for this long yet, milliseconds. */
  readonly graceLeftMs?: number;
  /** How far its emptying has come; absent: it is not being emptied. */
  readonly drained?: ConditionClaim;
  /** Why moves away from it are held back. */
  readonly held?: string;
}

/** The status of a Host. What only its agent can tell stays as it was while the agent is away. Pure. */
export function hostStatus(
  previous: HostStatus | undefined,
  generation: number | undefined,
  facts: HostFacts,
  now: string,
): HostStatus {
  const { record } = facts;
  const ready = readiness(facts);
  return {
    ...previous,
    state: stateOf(facts, ready),
    instances: facts.instances,
    allocated: quantities(facts.allocated),
    ...(record === undefined
      ? {}
      : {
          address: record.address,
          machineID: record.machineID,
          capacity: quantities(record.capacity),
          versions: {
            agent: record.versions.agent,
            docker: record.versions.docker,
            kernel: record.versions.kernel,
          },
          metadata: record.metadata,
          ...(record.subnet === undefined ? {} : { subnet: record.subnet }),
        }),
    conditions: mergeConditions(
      previous?.conditions?.filter(
        ({ type }) => facts.drained !== undefined || type !== drainedCondition,
      ),
      [ready, networkReadiness(facts), ...(facts.drained === undefined ? [] : [facts.drained])],
      generation,
      now,
    ),
  };
}

function stateOf(facts: HostFacts, ready: { readonly status: string }): string {
  if (facts.standing === 'lost') return 'Lost';
  if (ready.status !== 'True') return 'NotReady';
  if (facts.drained !== undefined) return facts.drained.status === 'True' ? 'Drained' : 'Draining';
  return facts.unschedulable ? 'Cordoned' : 'Ready';
}

function readiness(facts: HostFacts): Pick<Condition, 'type' | 'status' | 'reason' | 'message'> {
  const type = 'Ready';
  const { standing, record, instances, held, graceLeftMs } = facts;
  if (standing === 'lost') {
    const moving =
      instances === 0
        ? ''
        : `; ${String(instances)} instances wait to be moved${held === undefined ? '' : ` (${held})`}`;
    return {
      type,
      status: 'False',
      reason: 'Lost',
      message: `its agent does not answer any more${moving}`,
    };
  }
  if (standing === 'absent') {
    return graceLeftMs === undefined
      ? {
          type,
          status: 'Unknown',
          reason: 'AgentAbsent',
          message: 'its agent does not answer; not given up yet',
        }
      : {
          type,
          status: 'Unknown',
          reason: 'PlannedAbsence',
          message: 'its agent announced a short absence; what runs there goes on',
        };
  }
  if (record?.ready === false) {
    return {
      type,
      status: 'False',
      reason: 'AgentNotReady',
      message: record.problems.join('; ') || 'the agent says that it cannot take instances',
    };
  }
  return { type, status: 'True', reason: 'AgentReady', message: 'the agent takes instances' };
}

/** Whether the host's network is as the registry says, and what was not. */
function networkReadiness({ standing, record }: FactsOfNetwork): ConditionClaim {
  const type = networkCondition;
  if (standing === 'lost' || standing === 'absent' || record?.network === undefined) {
    const message = 'its agent does not say how its network is';
    return { type, status: 'Unknown', reason: 'AgentSilent', message };
  }
  const { problems, repaired } = record.network;
  if (problems.length > 0) {
    return { type, status: 'False', reason: 'NetworkProblem', message: problems.join('; ') };
  }
  if (repaired.length > 0) {
    const message = `was wrong in the last minute, and has been put right: ${repaired.join('; ')}`;
    return { type, status: 'True', reason: 'Repaired', message };
  }
  const message = 'overlay, rules, names and routers are as the registry says';
  return { type, status: 'True', reason: 'AsItShouldBe', message };
}

type FactsOfNetwork = Pick<HostFacts, 'standing' | 'record'>;

function quantities(amounts: { readonly cpuMillis: number; readonly memoryBytes: number }): {
  cpu: string;
  memory: string;
} {
  return {
    cpu: formatCpuQuantity(amounts.cpuMillis),
    memory: formatByteSizeRounded(amounts.memoryBytes),
  };
}
