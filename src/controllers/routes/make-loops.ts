import type { KubeClient } from '../../kube/client.ts';
import type { Revision } from '../../registry/store.ts';
import type { Task } from '../../runtime/supervise.ts';
import { CertificateLoop } from '../certificates/loop.ts';
import { noAuthority } from '../certificates/news.ts';
import { defaultNamespace, type OperatorDeps, type OperatorOptions } from '../operator-options.ts';
import type { ServiceDirectory } from '../service/directory.ts';
import { RouteLoop, type RouteLoopOptions } from './loop.ts';

/** What the loops of routes and of their certificates need of a term. */
export interface RouteParts
  extends
    Pick<RouteLoopOptions, 'routerHosts' | 'sealingKey' | 'confirmGone' | 'touched'>,
    Pick<OperatorDeps, 'store' | 'events' | 'clock' | 'log' | 'random'> {
  readonly client: Pick<KubeClient, 'list' | 'create' | 'update'>;
  readonly epoch: () => Revision;
  readonly directory: ServiceDirectory;
  /** Whether the host is there. */
  readonly isPresent: (host: string) => boolean;
}

/** The loops, to be run by a term. */
export interface RouteLoops {
  readonly routes: RouteLoop;
  readonly watches: readonly Task[];
  readonly whenSynced: (signal: AbortSignal) => Promise<void>;
  /** Only who leads runs them. */
  readonly loops: readonly Task[];
}

/** The loop of routes, and that of their certificates where an authority is named: each tells the other what is new. */
export function makeRouteLoops(options: OperatorOptions, parts: RouteParts): RouteLoops {
  const { directory, events, log } = parts;
  const routes: RouteLoop = new RouteLoop({
    ...parts,
    wishOf: (key) => directory.get(key),
    services: () => directory.keys(),
    news: (host) => certificates?.news(host) ?? noAuthority,
    certificatesChanged: () => certificates?.changed(),
    log: log.child({ loop: 'routes' }),
  });
  const { acme, namespace = defaultNamespace } = options;
  const certificates: CertificateLoop | undefined =
    acme &&
    new CertificateLoop({
      ...parts,
      ...{ acme, namespace },
      wishes: () => routes.certificates(),
      identityOf: (service) => directory.get(service)?.identity,
      routerHosts: () => [...parts.routerHosts()].filter(parts.isPresent),
      newsChanged: (host) => {
        routes.newsChanged(host);
      },
      announce: (service, ...news) => {
        const wish = directory.get(service);
        if (wish !== undefined) events.record(wish.object, ...news);
      },
      log: log.child({ loop: 'certificates' }),
    });
  const both = certificates === undefined ? [routes] : [routes, certificates];
  return {
    routes,
    watches: both.flatMap((each) => each.watches()),
    whenSynced: async (signal) => {
      await Promise.all(both.map((each) => each.whenSynced(signal)));
    },
    loops: both.map((each) => ({ name: each.name, run: (signal) => each.run(signal) })),
  };
}
