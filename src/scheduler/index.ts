export { ClusterState } from './cluster-state.ts';
export { Pipeline } from './pipeline.ts';
export { schedule } from './schedule.ts';
export type {
  HostInfo,
  InstanceDemand,
  InstanceRequest,
  OnlyHost,
  PlacementRules,
  Preference,
} from './types.ts';
