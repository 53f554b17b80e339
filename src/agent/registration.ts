import {
  acmeAnsweredRecords,
  drainRecords,
  endpointRecords,
  graceRecords,
  hostRecords,
  instanceRecords,
  RecordError,
  type HostRecord,
} from '../registry/records/index.ts';
import type { Condition, Entry, Lease, Revision, Store } from '../registry/store.ts';

/** Another agent answers for the host name. Start this one under another name, or stop the other one. */
export class HostNameTakenError extends Error {
  override readonly name = 'HostNameTakenError';
  readonly retryable = false;
}

/**
 * Writes the host record on `lease` and ends a planned absence. Takes over at once from an earlier agent of the same
 * machine (which was killed, or has left its records behind to bridge a restart): waiting for its lease to end would
 * look like the loss of the host.
 *
 * Throws HostNameTakenError when another machine holds the name.
 *
 * @returns revision of the record.
 */
export async function register(
  store: Store,
  record: HostRecord,
  lease: Lease,
  signal?: AbortSignal,
): Promise<Revision> {
  const path = hostRecords.path({ host: record.name });
  const grace = graceRecords.path({ host: record.name });
  let present = await store.get(path, signal);
  for (;;) {
    if (present !== undefined) assertMine(present, record);
    const condition: Condition =
      present === undefined
        ? { type: 'absent', key: path }
        : { type: 'unchanged', key: path, modRevision: present.modRevision };
    const result = await store.commit(
      [condition],
      [
        { type: 'put', key: path, value: hostRecords.encode(record), lease: lease.id },
        { type: 'delete', key: grace },
      ],
      signal,
    );
    if (result.committed) return result.revision;
    present = result.current.get(path);
  }
}

function assertMine(present: Entry, record: HostRecord): void {
  const other = readHost(present);
  // A record that cannot be read was written by hand; whoever runs the host is the one to mend it.
  if (other === undefined || other.machineID === record.machineID) return;
  throw new HostNameTakenError(
    `host name "${record.name}" is taken by machine ${other.machineID} at ${other.address} ` +
      `(agent started ${other.startedAt}); this is machine ${record.machineID} at ${record.address}. ` +
      'Give one of them another name with --host-name, or stop its agent.',
  );
}

/** The host record in an entry, or undefined when it is broken. */
export function readHost(entry: Entry): HostRecord | undefined {
  try {
    return hostRecords.decode(entry.value);
  } catch (error) {
    if (error instanceof RecordError) return undefined;
    throw error;
  }
}

/** Instance, endpoint, drain and challenge records of this host that stand in the registry, from this or an earlier agent. */
export async function leftovers(
  store: Store,
  host: string,
  signal?: AbortSignal,
): Promise<readonly Entry[]> {
  const { entries } = await store.list(`${instanceRecords.prefix}${host}/`, {}, signal);
  const endpoints: Entry[] = [];
  for (const entry of entries) {
    const parsed = instanceRecords.parsePath(entry.key);
    if (parsed === undefined || !isReady(entry)) continue;
    const endpoint = await store.get(endpointRecords.path(parsed), signal);
    if (endpoint !== undefined && isOn(endpoint, host)) endpoints.push(endpoint);
  }
  const drain = await store.get(drainRecords.path({ host }), signal);
  const answered = await store.get(acmeAnsweredRecords.path({ host }), signal);
  return [...entries, ...endpoints, ...[drain, answered].filter((entry) => entry !== undefined)];
}

function isReady(entry: Entry): boolean {
  try {
    return instanceRecords.decode(entry.value).ready;
  } catch {
    return true;
  }
}

function isOn(endpoint: Entry, host: string): boolean {
  try {
    return endpointRecords.decode(endpoint.value).host === host;
  } catch {
    return false;
  }
}
