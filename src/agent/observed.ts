import { instanceId, type InstanceKey } from '../registry/records/index.ts';
import type { OwnedContainer } from './ownership.ts';

/** Called when something about an instance's containers has changed. */
export type ObservedListener = (id: string, key: InstanceKey) => void;

/**
 * This host's containers as last inspected. The engine is the only place where this is kept: after a restart of the
 * agent everything is learnt again from labels.
 */
export class ObservedState {
  readonly #onChange: ObservedListener;
  readonly #network: string;
  readonly #containers = new Map<string, OwnedContainer>();
  readonly #byInstance = new Map<string, Set<string>>();
  readonly #byAddress = new Map<string, string>();

  /** @param network name of the Docker network whose addresses identify instances. */
  constructor(network: string, onChange: ObservedListener) {
    this.#network = network;
    this.#onChange = onChange;
  }

  /** The containers of one instance, without those of its hooks. */
  of(id: string): readonly OwnedContainer[] {
    return this.#allOf(id).filter(({ hook }) => hook === undefined);
  }

  /** The containers of one instance's hooks. */
  hooksOf(id: string): readonly OwnedContainer[] {
    return this.#allOf(id).filter(({ hook }) => hook !== undefined);
  }

  #allOf(id: string): OwnedContainer[] {
    const ids = this.#byInstance.get(id) ?? [];
    return [...ids].flatMap((containerId) => this.#containers.get(containerId) ?? []);
  }

  get(containerId: string): OwnedContainer | undefined {
    return this.#containers.get(containerId);
  }

  containerIds(): Iterable<string> {
    return this.#containers.keys();
  }

  /** Those of hooks, too. */
  all(): Iterable<OwnedContainer> {
    return this.#containers.values();
  }

  /** The instance whose running container has this overlay address. */
  instanceAt(ip: string): InstanceKey | undefined {
    const containerId = this.#byAddress.get(ip);
    return containerId === undefined ? undefined : this.#containers.get(containerId)?.key;
  }

  put(container: OwnedContainer): void {
    const before = this.#containers.get(container.id);
    if (before !== undefined) this.#unindex(before);
    this.#containers.set(container.id, container);
    const id = instanceId(container.key);
    const siblings = this.#byInstance.get(id) ?? new Set();
    this.#byInstance.set(id, siblings.add(container.id));
    const ip = container.addresses[this.#network];
    if (ip !== undefined) this.#byAddress.set(ip, container.id);
    this.#onChange(id, container.key);
  }

  remove(containerId: string): void {
    const container = this.#containers.get(containerId);
    if (container === undefined) return;
    this.#containers.delete(containerId);
    this.#unindex(container);
    this.#onChange(instanceId(container.key), container.key);
  }

  #unindex(container: OwnedContainer): void {
    const id = instanceId(container.key);
    const siblings = this.#byInstance.get(id);
    siblings?.delete(container.id);
    if (siblings?.size === 0) this.#byInstance.delete(id);
    const ip = container.addresses[this.#network];
    // The engine gives a freed address to the next container at once: only take away what is still this one's.
    if (ip !== undefined && this.#byAddress.get(ip) === container.id) this.#byAddress.delete(ip);
  }
}
