import { contendForLeadership } from '../registry/leadership.ts';
import { Backoff } from '../runtime/backoff.ts';
import { sleep } from '../runtime/clock.ts';
import { asError } from '../runtime/errors.ts';
import { defaultClaimTtlMs, type OperatorDeps, type OperatorOptions } from './operator-options.ts';
import { Term, type Claim } from './term.ts';

/** How an operator stands, for health checks. */
export interface OperatorState {
  /** It leads. */
  leading: boolean;
  /** It leads, its caches are filled, and its loops run. */
  deciding: boolean;
}

const termBackoff = { baseMs: 200, capMs: 5_000 };

/**
 * The operator: one term after the other. In each it first is a candidate, with filled caches, and waits until nobody
 * leads; then it claims the epoch in the registry and decides, until the claim is lost. Then all loops end, everything that
 * was known is thrown away, and it stands again, in the same process: a process may hold other parts (`nap up`), and a term
 * that starts from nothing is as clean as a new process.
 *
 * Who leads is decided in the registry alone. A leader that cannot prove its claim by its own clock stops; what it may
 * have sent before is refused, since every decision is conditional on the epoch.
 *
 * Resolves when `signal` aborts.
 */
export async function runOperator(
  options: OperatorOptions,
  outside: OperatorDeps,
  signal: AbortSignal,
  state: OperatorState = { leading: false, deciding: false },
): Promise<void> {
  const { clock, random } = outside;
  const log = outside.log.child({ operator: options.identity });
  const deps = { ...outside, log };
  let backoff = new Backoff({ ...termBackoff, random });
  while (!signal.aborted) {
    const startedAt = clock.monotonic();
    try {
      await serveTerm(options, deps, state, signal);
    } catch (thrown) {
      // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- it may abort meanwhile
      if (signal.aborted) return;
      if (clock.monotonic() - startedAt > 60_000) backoff = backoff.reset();
      backoff = backoff.next();
      log.warn(
        { err: asError(thrown), retryInMs: Math.round(backoff.delayMs) },
        'the term is over; standing for another one',
      );
      await sleep(clock, backoff.delayMs, signal).catch(() => undefined);
    }
  }
}

async function serveTerm(
  options: OperatorOptions,
  deps: OperatorDeps,
  state: OperatorState,
  signal: AbortSignal,
): Promise<void> {
  const { store, log, clock } = deps;
  const over = (): void => {
    state.leading = false;
    state.deciding = false;
  };
  const claim: Claim = async (mayLead, until) => {
    const leadership = await contendForLeadership(
      store,
      { operator: options.identity, since: new Date(clock.now()).toISOString() },
      { leaseTtlMs: options.claimTtlMs ?? defaultClaimTtlMs, log },
      mayLead,
      until,
    );
    state.leading = true;
    leadership.lost.addEventListener('abort', over, { once: true });
    if (leadership.lost.aborted) over();
    return leadership;
  };
  const term = new Term(options, deps, () => {
    state.deciding = true;
  });
  try {
    await term.run(claim, signal);
  } finally {
    over();
  }
}
