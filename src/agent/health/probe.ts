import { get } from 'node:http';
import { connect } from 'node:net';
import type { HealthCheckSpec } from '../../api/v1alpha1/health-check.ts';
import type { Engine } from '../docker/engine.ts';
import { isUnavailable } from '../docker/errors.ts';
import type { CheckResult } from './state.ts';

export interface ProbeTarget {
  readonly containerId: string;
  /** Overlay IPv4 address; absent when it has none. */
  readonly address: string | undefined;
}

type Probe = HealthCheckSpec['probe'];

/** Makes one check; never rejects. An abort gives `unknown`. */
export type Prober = (
  probe: Probe,
  target: ProbeTarget,
  timeoutMs: number,
  signal: AbortSignal,
) => Promise<CheckResult>;

const longestOutput = 200;
/** Containers come and go; what is forgotten is found out again. */
const mostOverdue = 1000;

/** Checks containers of this machine: http and tcp at their overlay addresses, exec through the engine. */
export function containerProber(engine: Pick<Engine, 'exec' | 'isExecRunning'>): Prober {
  /** Programs that have outlasted their timeout: the engine's API cannot kill them. */
  const overdue = new Map<string, string>();
  return async (probe, target, timeoutMs, signal) => {
    switch (probe.type) {
      case 'http':
      case 'tcp': {
        if (target.address === undefined) return fail('no address in the overlay');
        return probe.type === 'tcp'
          ? probeTcp(target.address, probe.port, timeoutMs, signal)
          : probeHttp(target.address, probe, timeoutMs, signal);
      }
      case 'exec':
        return probeExec(engine, overdue, target.containerId, probe.command, timeoutMs, signal);
      case 'image':
      case 'none':
        return { type: 'unknown' };
    }
  };
}

async function probeExec(
  engine: Pick<Engine, 'exec' | 'isExecRunning'>,
  overdue: Map<string, string>,
  containerId: string,
  command: readonly string[],
  timeoutMs: number,
  signal: AbortSignal,
): Promise<CheckResult> {
  const name = command[0] ?? '';
  try {
    const earlier = overdue.get(containerId);
    if (earlier !== undefined) {
      if (await engine.isExecRunning(earlier, signal)) return fail(`${name} does not end`);
      overdue.delete(containerId);
    }
    const { id, exitCode, output } = await engine.exec(containerId, command, timeoutMs, signal);
    if (exitCode === undefined) {
      if (overdue.size >= mostOverdue) overdue.clear();
      overdue.set(containerId, id);
      return fail(`${name}: no result in ${seconds(timeoutMs)}`);
    }
    if (exitCode === 0) return { type: 'pass' };
    const said = output.replace(/\s+/g, ' ').trim().slice(0, longestOutput);
    return fail(`${name}: exit code ${String(exitCode)}${said === '' ? '' : `: ${said}`}`);
  } catch (error) {
    // Without its engine nothing is known of a container; and one that has ended is not unhealthy but down.
    if (signal.aborted || isUnavailable(error)) return { type: 'unknown' };
    return fail(`${name}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function probeTcp(
  host: string,
  port: number,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<CheckResult> {
  const what = `port ${String(port)}`;
  return within(what, timeoutMs, signal, (settle) => {
    const socket = connect({ host, port });
    socket.once('connect', () => {
      settle({ type: 'pass' });
    });
    socket.once('error', (error) => {
      settle(fail(`${what}: ${wordsOf(error)}`));
    });
    return () => socket.destroy();
  });
}

function probeHttp(
  host: string,
  { port, path }: { readonly port: number; readonly path: string },
  timeoutMs: number,
  signal: AbortSignal,
): Promise<CheckResult> {
  const what = `GET :${String(port)}${path}`;
  return within(what, timeoutMs, signal, (settle) => {
    const request = get(
      {
        host,
        port,
        path,
        agent: false,
        headers: { 'user-agent': 'nap-health', connection: 'close' },
      },
      ({ statusCode = 0 }) => {
        const good = statusCode >= 200 && statusCode < 400;
        // The body is of no interest, and may never end.
        settle(good ? { type: 'pass' } : fail(`${what}: status ${String(statusCode)}`));
      },
    );
    request.on('error', (error) => {
      settle(fail(`${what}: ${wordsOf(error)}`));
    });
    return () => request.destroy();
  });
}

/** Gives the first result of `begin`, or a failure after `timeoutMs`; then calls what `begin` returned. */
function within(
  what: string,
  timeoutMs: number,
  signal: AbortSignal,
  begin: (settle: (result: CheckResult) => void) => () => unknown,
): Promise<CheckResult> {
  return new Promise((resolve) => {
    const onAbort = (): void => {
      settle({ type: 'unknown' });
    };
    const timer = setTimeout(() => {
      settle(fail(`${what}: no answer in ${seconds(timeoutMs)}`));
    }, timeoutMs);
    const begun: { end?: () => unknown } = {};
    let settled = false;
    function settle(result: CheckResult): void {
      if (settled) return;
      settled = true;
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      begun.end?.();
      resolve(result);
    }
    signal.addEventListener('abort', onAbort, { once: true });
    begun.end = begin(settle);
    if (signal.aborted) onAbort();
  });
}

function fail(message: string): CheckResult {
  return { type: 'fail', message };
}

function seconds(ms: number): string {
  return `${String(ms / 1000)} s`;
}

/** "connection refused": without the address, which every start changes. */
function wordsOf(error: Error): string {
  const code = (error as { code?: unknown }).code;
  const words: Readonly<Record<string, string>> = {
    ECONNREFUSED: 'connection refused',
    ECONNRESET: 'connection reset',
    EHOSTUNREACH: 'no route to the container',
    EPIPE: 'connection reset',
  };
  return (typeof code === 'string' ? words[code] : undefined) ?? error.message;
}
