import type { EndCause } from '../../api/v1alpha1/restart-policy.ts';
import type { InspectedContainer } from '../docker/engine.ts';

/** SIGHUP, SIGINT, SIGPIPE, SIGTERM: ends that systemd calls clean (`exit_status_set` in systemd's src/shared/exit-status.c). */
const cleanSignals: ReadonlySet<number> = new Set([1, 2, 13, 15]);
const firstSignalCode = 128;
const lastSignal = 64;

/**
 * How a container's last run ended, from what the engine tells. It writes death by signal n as exit code 128 + n, so a
 * program that exits with such a code itself (a shell whose child was killed) cannot be told from one that was killed.
 *
 * @param oneshot it had something to finish, and a signal kept it from that (systemd's Type=oneshot is as strict)
 */
export function endCause(
  ended: Pick<InspectedContainer, 'exitCode' | 'oomKilled'>,
  oneshot = false,
): Exclude<EndCause, 'timeout'> {
  const { exitCode, oomKilled } = ended;
  if (exitCode === 0) return 'clean';
  // The flag is also set when only a child was killed; the run did not end well for that reason then either.
  if (oomKilled) return 'oom';
  const signal = exitCode - firstSignalCode;
  if (signal < 1 || signal > lastSignal) return 'exit-code';
  return cleanSignals.has(signal) && !oneshot ? 'clean' : 'signal';
}
