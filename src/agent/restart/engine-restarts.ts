import type { ContainerSpec } from '../../registry/records/index.ts';

/**
 * Whether the engine restarts a container by its own policy; else the agent does, or nobody. See
 * docker/container-spec.ts for why.
 */
export function engineRestarts(
  spec: Pick<ContainerSpec, 'restart' | 'restartMs' | 'startLimit' | 'hooks' | 'fencing'>,
): boolean {
  // The engine would restart what is fenced after a reboot, whether or not the host may run it.
  return (
    spec.restart === 'always' &&
    spec.restartMs === undefined &&
    spec.startLimit === undefined &&
    spec.hooks === undefined &&
    spec.fencing === undefined
  );
}
