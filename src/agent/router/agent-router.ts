import { serviceId, type ServiceIdentity } from '../../api/v1alpha1/names.ts';
import { routerDirectory, routerHealthPort, routerIdentity } from '../../api/v1alpha1/router.ts';
import { renderRouter, type RouterPlace } from '../../network/haproxy/config.ts';
import { routerModel } from '../../network/haproxy/model.ts';
import type { DesiredState } from '../desired.ts';
import type { ObservedState } from '../observed.ts';
import type { AgentDeps, AgentOptions, AgentRouter } from '../options.ts';
import { RouterFiles } from './router-files.ts';
import { RouterKeeper, type RouterKeeperDeps } from './router-keeper.ts';

const routerId = serviceId(routerIdentity);
/** "nobody", on every Linux. */
const nobody = 65_534;
/** HAProxy reads ten thousand routes in less. */
const checkMs = 30_000;

const place: RouterPlace = {
  directory: routerDirectory,
  httpPort: 80,
  httpsPort: 443,
  healthPort: routerHealthPort,
  runAs: nobody,
};

/** Whether an instance is a router. */
export function isRouter(key: ServiceIdentity): boolean {
  return serviceId(key) === routerId;
}

/** Makes sure that a router that is started finds a configuration, if only one without routes. */
export async function prepareRouter(directory: string): Promise<AgentRouter> {
  const files = new RouterFiles(directory);
  const none = routerModel([], () => undefined);
  await files.prepare(renderRouter(none, () => ({ addresses: [], slots: 0 }), place));
  return { files, place };
}

/** The keeper of this host's router; undefined when the agent has no place for its files. */
export function agentRouterKeeper(
  { hostName: host }: AgentOptions,
  { store, engine, files, router, audits, clock, log }: AgentDeps,
  state: { readonly desired: DesiredState; readonly observed: ObservedState },
  tell: Pick<RouterKeeperDeps, 'onProblems' | 'onAnswered'>,
): RouterKeeper | undefined {
  if (files === undefined || router === undefined) return undefined;
  const containers = () => [...state.observed.all()].filter(({ key }) => isRouter(key));
  return new RouterKeeper({
    host,
    store,
    key: files.key,
    files: router.files,
    place: router.place,
    wanted: () =>
      containers().length > 0 || [...state.desired.all()].some(({ key }) => isRouter(key)),
    container: () => containers().find((each) => each.state === 'running')?.id,
    check: async (container, file, signal) => {
      const command = ['haproxy', '-c', '-f', `${router.place.directory}/${file}`];
      const { exitCode, output } = await engine.exec(container, command, checkMs, signal);
      if (exitCode === 0) return undefined;
      return exitCode === undefined ? 'the check has not ended' : output;
    },
    ...(audits && { audits }),
    clock,
    log,
    ...tell,
  });
}
