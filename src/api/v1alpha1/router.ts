import { standaloneProject, type ServiceIdentity } from './names.ts';

/**
 * The service whose instances are taken for routers: an ordinary Service object, made by an operator that is told an
 * image (`--router-image`), or by hand. Each host's agent keeps the configuration of the router that runs there.
 */
export const routerIdentity: ServiceIdentity = {
  namespace: 'nap-system',
  project: standaloneProject,
  service: 'nap-router',
};

/** Where the agent's files and the router's socket are in the router's container. */
export const routerDirectory = '/run/nap-router';

/** Directory of the host (`%H` in a volume) that is mounted there. @param runDirectory of the agent. */
export function routerHostDirectory(runDirectory: string, host: string): string {
  return `${runDirectory}/${host}/router`;
}

/** Where agents keep what lives as long as the machine runs. */
export const defaultRunDirectory = '/run/nap';

/** Port on which the router says that it is there, in the overlay only. */
export const routerHealthPort = 8404;
