import type { Clock } from '../../runtime/clock.ts';
import type { CreateRequest, Engine } from '../docker/engine.ts';
import type { FilesOf } from '../files/file-store.ts';
import type { OwnedContainer } from '../ownership.ts';
import type { PlacedTemplate, TemplateStore } from './template-store.ts';

export interface ApplyDeps {
  readonly store: TemplateStore;
  readonly engine: Pick<Engine, 'runOnce' | 'volumeDirectory' | 'signal' | 'exec'>;
  readonly clock: Clock;
  /** Has the engine asked anew about a container that may be told. */
  readonly refresh: (containerId: string) => Promise<void>;
}

/** One template of one container. */
export interface Job {
  readonly of: FilesOf;
  readonly index: number;
  readonly template: PlacedTemplate;
  /** @throws {TemplateError} */
  readonly render: () => Promise<Buffer>;
  /** What stands in the file now. */
  readonly read: () => Promise<Buffer | undefined>;
  /** The container that has the file, while it runs. */
  readonly own: () => OwnedContainer | undefined;
  /** Containers that are told of changes, as last looked at: running or not. */
  readonly told: () => readonly OwnedContainer[];
  /** What a container for the check is made from; undefined: it cannot be made now. */
  readonly request: () => Promise<CreateRequest | undefined>;
}
