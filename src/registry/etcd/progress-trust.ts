import type { EtcdClient } from './client.ts';

/**
 * Whether the answer to a progress request may be believed. Before 3.4.25 and 3.5.8 it could overtake events of the same
 * watch (etcd issue 15220): there it only shows that the connection lives, and progress comes from etcd's own
 * periodic notifications (every 10 minutes by default), which are ordered.
 */
export class ProgressTrust {
  readonly #client: EtcdClient;
  #known: boolean | undefined;

  constructor(client: EtcdClient) {
    this.#client = client;
  }

  /** Asks one member. In a cluster of several versions the first distrusted member decides for good. */
  async get(signal: AbortSignal): Promise<boolean> {
    if (this.#known === false) return false;
    const status = await this.#client.repeat(() => this.#client.maintenance.status(), signal);
    this.#known = hasOrderedProgress(status.version);
    return this.#known;
  }
}

/** @param version etcd's, `3.4.23`. */
export function hasOrderedProgress(version: string): boolean {
  const [major = 0, minor = 0, patch = 0] = version.split(/[.\-+]/).map(Number);
  if (major !== 3) return major > 3;
  if (minor === 4) return patch >= 25;
  if (minor === 5) return patch >= 8;
  return minor > 5;
}
