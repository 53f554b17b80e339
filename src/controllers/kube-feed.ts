import type { Host } from '../api/v1alpha1/host.ts';
import type { Project } from '../api/v1alpha1/project.ts';
import type { Service } from '../api/v1alpha1/service.ts';
import type { KubeClient } from '../kube/client.ts';
import { Informer, type InformerOptions } from '../kube/informer.ts';
import { hosts, projects, services } from '../kube/resources.ts';
import { byController, joinKey, keyOf } from '../kube/store.ts';
import type { Task } from '../runtime/supervise.ts';
import { controllerOf } from './identity.ts';
import type { ServiceDirectory } from './service/directory.ts';

/** Who hears of changes of objects. */
export interface KubeSinks {
  readonly directory: ServiceDirectory;
  /** The placements of these services, by serviceId, need a look. */
  readonly mark: (key: string) => void;
  readonly hostObject: (name: string, object: Host | undefined) => void;
  readonly enqueueProject: (key: string) => void;
  readonly enqueueService: (key: string) => void;
  readonly enqueueHost: (key: string) => void;
}

/** Follows all objects that the operator acts upon, and wakes whoever a change concerns. */
export class KubeFeed {
  readonly projects: Informer<Project>;
  readonly services: Informer<Service>;
  readonly hosts: Informer<Host>;
  readonly #sinks: KubeSinks;

  constructor(
    client: KubeClient,
    sinks: KubeSinks,
    options: Pick<InformerOptions<never>, 'log' | 'clock' | 'observer'>,
  ) {
    this.#sinks = sinks;
    this.projects = new Informer(client, projects, options);
    this.services = new Informer(client, services, {
      ...options,
      indexes: { controller: byController },
    });
    this.hosts = new Informer(client, hosts, options);
  }

  /** Begins to tell of changes. Call once, before the informers run. */
  subscribe(): void {
    const { directory, mark, hostObject, enqueueProject, enqueueService, enqueueHost } =
      this.#sinks;
    this.projects.onChange(({ key }) => {
      enqueueProject(key);
    });
    this.services.onChange(({ type, key, object }) => {
      const changed = type === 'deleted' ? directory.remove(object) : directory.put(object);
      for (const service of changed) mark(service);
      enqueueService(key);
      this.#touchProjects(object);
    });
    this.hosts.onChange(({ type, key, object }) => {
      hostObject(key, type === 'deleted' ? undefined : object);
      enqueueHost(key);
    });
  }

  tasks(): Task[] {
    return [this.projects, this.services, this.hosts].map((informer) => ({
      name: `informer of ${informer.name}`,
      run: (signal) => informer.run(signal),
    }));
  }

  /** Resolves when every cache was filled once; rejects when `signal` aborts before. */
  async whenSynced(signal: AbortSignal): Promise<void> {
    await Promise.all([
      this.projects.waitForSync(signal),
      this.services.waitForSync(signal),
      this.hosts.waitForSync(signal),
    ]);
  }

  /** The Service's Project, or those that may want its name. */
  #touchProjects(service: Service): void {
    const { namespace, name } = service.metadata;
    const owner = controllerOf(service.metadata);
    if (owner?.kind === 'Project') {
      const of = namespace === undefined ? {} : { namespace };
      this.#sinks.enqueueProject(joinKey({ ...of, name: owner.name }));
      return;
    }
    if (owner?.kind === 'Service') {
      // A run tells its schedule how it stands.
      const of = namespace === undefined ? {} : { namespace };
      this.#sinks.enqueueService(joinKey({ ...of, name: owner.name }));
      return;
    }
    for (const project of this.projects.store.list(namespace)) {
      if (name.startsWith(`${project.metadata.name}-`)) this.#sinks.enqueueProject(keyOf(project));
    }
  }
}
