import { setPriority } from 'node:os';

/**
 * Above all ordinary processes, below those that keep the machine itself alive. Nine times their share of a busy processor
 * (kernel/sched/core.c, sched_prio_to_weight).
 */
const nice = -10;

/**
 * Puts a process before the ordinary ones of this machine: what must give a sign of life every few seconds must not wait behind a
 * hundred containers that start, or its host counts as lost, its containers start elsewhere, and the load goes on to the next host.
 * What the process starts later has the same. Without the right to do so (root, CAP_SYS_NICE) nothing happens.
 */
export function raisePriority(pid = 0): void {
  try {
    setPriority(pid, nice);
  } catch {
    // Whoever runs it without the right has to say `Nice=` himself.
  }
}
