export { ClusterState } from './cluster-state.ts';
export { schedule } from './schedule.ts';
export type { HostInfo, InstanceDemand, InstanceRequest, PlacementRules } from './types.ts';
