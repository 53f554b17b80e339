import type Docker from 'dockerode';
import { endpointConfig, logConfig } from './container-spec.ts';
import type { BesideRequest } from './engine.ts';

/** What of the other one's host configuration holds for both. */
const shared = [
  'NetworkMode',
  'Dns',
  'DnsOptions',
  'DnsSearch',
  'ExtraHosts',
  'Tmpfs',
  'ShmSize',
  'NanoCpus',
  'Memory',
  'MemoryReservation',
  'PidsLimit',
  'Ulimits',
  'Privileged',
  'CapAdd',
  'CapDrop',
  'SecurityOpt',
  'Devices',
  'Sysctls',
  'ReadonlyRootfs',
  'Init',
] as const satisfies readonly (keyof Docker.HostConfig)[];

/**
 * The body of the create call for a container beside another one. Made from what the engine says of the other, not from a
 * placement: this also holds when the placement is gone or was written anew. Pure.
 *
 * - Volumes come by `VolumesFrom`: named ones, paths of the host and delivered files at the same places; a tmpfs is each
 *   container's own. Published ports and the check stay with the other one, and nothing is ever restarted.
 * - Of the environment, what the other one's image has brought along is left out: another image has a PATH of its own.
 *
 * @param imageEnvironment of the other one's image.
 */
export function besideBody(
  other: Docker.ContainerInspectInfo,
  imageEnvironment: readonly string[],
  request: BesideRequest,
): Docker.ContainerCreateOptions {
  const { image, command } = request;
  const { Config: config, HostConfig: host } = other;
  const brought = new Set(image === undefined ? [] : imageEnvironment);
  return {
    name: request.name,
    Image: image ?? other.Image,
    ...(command !== undefined && { Entrypoint: [command[0] ?? ''], Cmd: command.slice(1) }),
    Hostname: config.Hostname,
    Env: config.Env.filter((variable) => !brought.has(variable)),
    Labels: { ...request.labels },
    // Another image has its own users and directories.
    ...(image === undefined && { User: config.User, WorkingDir: config.WorkingDir }),
    Healthcheck: { Test: ['NONE'] },
    HostConfig: {
      ...Object.fromEntries(shared.map((option) => [option, host[option]])),
      VolumesFrom: [other.Id],
      RestartPolicy: { Name: 'no' },
      LogConfig: logConfig,
    },
    ...(request.address !== undefined &&
      host.NetworkMode !== undefined && {
        NetworkingConfig: {
          EndpointsConfig: { [host.NetworkMode]: endpointConfig(request.address) },
        },
      }),
  };
}
