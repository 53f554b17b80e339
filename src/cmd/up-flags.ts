import type { AgentFlags } from './agent-flags.ts';
import type { HealthFlags, RouterFlags, VirtualRangeFlags } from './flags.ts';

export interface UpFlags extends AgentFlags, RouterFlags, VirtualRangeFlags, HealthFlags {
  readonly dataDir: string;
  readonly kubeconfig?: string;
  readonly listen: string;
  readonly apiPort: number;
  readonly etcdPort: number;
  readonly etcdBinary: string;
  readonly agent: boolean;
}
