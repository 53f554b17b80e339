import { Command } from 'commander';
import { systemClock } from '../runtime/clock.ts';
import {
  addEtcdFlags,
  addLogFlags,
  loggerFor,
  portNumber,
  readNamedFile,
  UsageError,
  type EtcdFlags,
  type LogFlags,
} from './flags.ts';
import { runUntilSignal } from './signals.ts';
import { version } from './version.ts';

interface ApiServerFlags {
  readonly listen: string;
  readonly port: number;
  readonly clientCa?: string;
  readonly cert?: string;
  readonly key?: string;
}

/** `nap apiserver` */
export function apiServerCommand(): Command {
  const command = new Command('apiserver')
    .summary("run nap's embedded Kubernetes API server")
    .description(
      "Serves the Kubernetes API for nap's kinds and the few core ones they need, kept in etcd. `nap up` runs one; " +
        'with a real Kubernetes API server none is needed.',
    )
    .option('--listen <address>', 'address to listen on', '127.0.0.1')
    .option('--port <port>', 'port to listen on', portNumber, 6443)
    .option('--client-ca <file>', 'authority whose client certificates are believed')
    .option('--cert <file>', 'certificate to show to clients')
    .option('--key <file>', 'key of that certificate');
  addLogFlags(addEtcdFlags(command));
  return command.action(async (flags: ApiServerFlags & EtcdFlags & LogFlags) => {
    const log = loggerFor(flags);
    const [{ withStore }, { startApiServer }, { crds }] = await Promise.all([
      import('./with-store.ts'),
      import('../apiserver/server.ts'),
      import('./crds.ts'),
    ]);
    const tls = await tlsMaterial(flags);
    await runUntilSignal(log, (signal) =>
      withStore(flags, log, async (store) => {
        const server = await startApiServer({
          store,
          crds: crds(),
          tokens: [],
          listen: { host: flags.listen, port: flags.port },
          log,
          clock: systemClock,
          version,
          ...(tls === undefined ? {} : { tls }),
        });
        await aborted(signal);
        await server.close();
      }),
    );
  });
}

/** Resolves when `signal` aborts. */
function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else
      signal.addEventListener(
        'abort',
        () => {
          resolve();
        },
        { once: true },
      );
  });
}

async function tlsMaterial(
  flags: ApiServerFlags & EtcdFlags,
): Promise<{ ca: string; cert: string; key: string } | undefined> {
  const { clientCa, cert, key } = flags;
  if (clientCa === undefined && cert === undefined && key === undefined) {
    if (flags.insecure === true) return undefined;
    throw new UsageError('say how to serve https: --client-ca, --cert and --key');
  }
  if (clientCa === undefined || cert === undefined || key === undefined) {
    throw new UsageError('https needs --client-ca, --cert and --key, all three');
  }
  return {
    ca: await readNamedFile('--client-ca', clientCa),
    cert: await readNamedFile('--cert', cert),
    key: await readNamedFile('--key', key),
  };
}
