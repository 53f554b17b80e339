import {
  defaultRunDirectory,
  routerDirectory,
  routerHealthPort,
  routerHostDirectory,
  routerIdentity,
} from '../../api/v1alpha1/router.ts';
import type { ServiceSpecInput } from '../../api/v1alpha1/service-spec.ts';
import type { Service } from '../../api/v1alpha1/service.ts';
import type { KubeClient } from '../../kube/client.ts';
import { services } from '../../kube/resources.ts';
import type { Informer } from '../../kube/informer.ts';
import { asError } from '../../runtime/errors.ts';
import { sleep, type Clock } from '../../runtime/clock.ts';
import type { Logger } from '../../telemetry/log.ts';

/** What the operator is told about routers. */
export interface RouterOptions {
  /** An image with HAProxy 2.6 or later on its PATH. */
  readonly image: string;
  /** Labels of the hosts that have one. Default: all hosts. */
  readonly hosts?: Readonly<Record<string, string>>;
}

/** Owner, in the API server's books, of what the operator says about the router. */
const fieldManager = 'nap-router';

const everyMs = 60_000;
const againMs = 2_000;

/**
 * The routers as a service: one on each host, on its ports 80 and 443. It runs as root since it reads keys that are root's alone;
 * the processes that serve requests run as nobody, in an empty directory (network/haproxy/config.ts).
 */
export function routerServiceSpec({ image, hosts }: RouterOptions): ServiceSpecInput {
  return {
    image,
    entrypoint: ['haproxy'],
    command: [
      '-W',
      '-db',
      ...['-S', `${routerDirectory}/master.sock,mode,600`],
      ...['-f', `${routerDirectory}/haproxy.cfg`],
    ],
    user: '0:0',
    ports: ['80:80', '443:443'],
    volumes: [`${routerHostDirectory(defaultRunDirectory, '%H')}:${routerDirectory}`],
    // Lets go of the ports at once, and ends with the last connection.
    stopSignal: 'SIGUSR1',
    stopGracePeriod: '30s',
    healthCheck: { http: { port: routerHealthPort, path: '/healthz' }, interval: '5s' },
    placement: {
      global: true,
      ...(hosts === undefined ? {} : { machineMetadata: { ...hosts } }),
    },
  };
}

/**
 * Keeps the routers' Service as the options say, until `signal` aborts; what others say in it of their own (resources,
 * labels …) stays. Without options nobody calls this, and a Service of that name is its owner's business.
 */
export async function keepRouterService(
  options: RouterOptions,
  deps: {
    readonly client: KubeClient;
    readonly objects: Informer<Service>;
    readonly clock: Clock;
    readonly log: Logger;
  },
  signal: AbortSignal,
): Promise<void> {
  const { client, objects, clock, log } = deps;
  const { namespace, service: name } = routerIdentity;
  let applied: string | undefined;
  while (!signal.aborted) {
    let pauseMs = everyMs;
    const present = objects.store.get({ namespace, name });
    // Another version than the one that we left: somebody changed it, or it is gone.
    const version = present?.metadata.generation;
    if (present === undefined || applied !== String(version)) {
      try {
        const object = { metadata: { namespace, name }, spec: routerServiceSpec(options) };
        const result = await client.apply(services, object, { fieldManager, force: true }, signal);
        applied = String(result.metadata.generation);
      } catch (error) {
        // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- it may abort during the call
        if (signal.aborted) return;
        log.warn({ err: asError(error) }, 'cannot make the routers; trying again');
        pauseMs = againMs;
      }
    }
    await sleep(clock, pauseMs, signal).catch(() => undefined);
  }
}
