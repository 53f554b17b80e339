import { isRecoverableError, type Etcd3 } from 'etcd3';

/** What we use of etcd3's ServiceClients, which are gRPC clients: each holds one channel. */
interface ServiceClient {
  close(): void;
  getChannel(): { getConnectivityState(tryToConnect: boolean): number };
  waitForReady(deadline: number, done: () => void): void;
}

interface Host {
  cachedServices: Record<string, ServiceClient | undefined>;
  readonly faultHandling: unknown;
  close(): void;
  resetAllServices(): void;
}

interface Connection {
  readonly resource: Host;
  readonly client: ServiceClient;
  readonly metadata: unknown;
}

type Call = (connection: Connection) => unknown;

interface Pool {
  readonly hosts: readonly Host[];
  withConnection(service: string, call: Call, hosts?: unknown): Promise<unknown>;
}

/** grpc.connectivityState.CONNECTING */
const connecting = 1;

/**
 * Makes a failed call or stream close the channel that it used, and no other. etcd3 closes all channels of the
 * member instead, whichever are in use by then: when several watches break together, each closes the channel that the one before has
 * just opened anew. What ran on a closed channel goes on until gRPC's next ping finds the session closed, and
 * fails then: together again, and so on for ever, every `grpc.keepalive_time_ms`.
 *
 * Made for etcd3 1.1 (lib/connection-pool.js); throws when the client at hand is built otherwise.
 */
export function resetOnlyWhatFailed(etcd: Etcd3): void {
  const { pool } = etcd as unknown as { pool: Partial<Pool> };
  const { hosts, withConnection: original } = pool;
  if (hosts === undefined || original === undefined)
    throw new Error('this version of etcd3 keeps its connections in another way');
  for (const host of hosts) {
    const closeAll = host.resetAllServices.bind(host);
    const close = host.close.bind(host);
    host.resetAllServices = () => undefined;
    host.close = () => {
      closeAll();
      close();
    };
  }
  const withConnection = original.bind(pool as Pool);
  pool.withConnection = (service, call, order) =>
    withConnection(
      service,
      async (connection) => {
        const { resource, client } = connection;
        const reset = (): void => {
          if (resource.cachedServices[service] !== client) return;
          resource.cachedServices[service] = undefined;
          closeClient(client);
        };
        try {
          // A stream that breaks calls `resetAllServices` of the resource that it was given.
          const own = { faultHandling: resource.faultHandling, resetAllServices: reset };
          return await call({ ...connection, resource: own as Host });
        } catch (error) {
          if (error instanceof Error && isRecoverableError(error)) reset();
          throw error;
        }
      },
      order,
    );
}

/** A channel that is closed while it connects stays (grpc/grpc-node#1487). */
function closeClient(client: ServiceClient): void {
  if (client.getChannel().getConnectivityState(false) !== connecting) {
    client.close();
    return;
  }
  client.waitForReady(Date.now() + 1_000, () =>
    setImmediate(() => {
      client.close();
    }),
  );
}
