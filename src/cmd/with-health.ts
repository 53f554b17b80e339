import type { HealthServer } from '../telemetry/health.ts';
import type { Logger } from '../telemetry/log.ts';
import { healthPlace, UsageError, type HealthFlags } from './flags.ts';

/**
 * Calls `main` with the server of health and metrics that the flags ask for, undefined if they ask for none, and closes it afterwards.
 *
 * @param parts of the process that have to run for it to be ready
 */
export async function withHealth(
  flags: HealthFlags,
  log: Logger,
  parts: readonly string[],
  main: (health: HealthServer | undefined) => Promise<void>,
): Promise<void> {
  const place = healthPlace(flags);
  const health = place && (await serve(place, log, parts));
  try {
    await main(health);
  } finally {
    await health?.close();
  }
}

async function serve(
  place: NonNullable<ReturnType<typeof healthPlace>>,
  log: Logger,
  parts: readonly string[],
): Promise<HealthServer> {
  // Loaded where they are asked for: most agents need no metrics in their memory.
  const [{ Metrics }, { startHealthServer }] = await Promise.all([
    import('../telemetry/metrics.ts'),
    import('../telemetry/health.ts'),
  ]);
  const metrics = Metrics.ofProcess();
  return startHealthServer({ ...place, log, parts, metrics }).catch((error: unknown) => {
    const { code } = error as NodeJS.ErrnoException;
    const { host, port } = place;
    if (code === 'EADDRINUSE') {
      throw new UsageError(`--health-port: port ${port} of ${host} is taken by another program`);
    }
    if (code === 'EADDRNOTAVAIL') {
      throw new UsageError(`--health-address: ${host} is no address of this machine`);
    }
    throw error;
  });
}
