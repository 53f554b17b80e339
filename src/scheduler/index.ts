export { ClusterState } from './cluster-state.ts';
export type { HostState } from './host-state.ts';
export { schedule, type ScheduleOptions } from './schedule.ts';
export type {
  Amounts,
  Decision,
  HostInfo,
  HostPort,
  InstanceDemand,
  InstanceRequest,
  PlacementRules,
  StrategyName,
} from './types.ts';
