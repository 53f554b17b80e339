import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { systemClock, type Clock } from '../runtime/clock.ts';
import { asError } from '../runtime/errors.ts';
import type { Logger } from './log.ts';
import type { Metrics } from './metrics.ts';

/** One thing that must be well. */
export interface Check {
  readonly name: string;
  /** Throws, or rejects, with what is wrong. Given up, as failed, after 2 s. */
  check(signal: AbortSignal): Promise<void> | void;
}

/** What a running part of the process tells of itself. */
export interface HealthPart {
  /** When one fails, it should get no work. */
  readonly ready: readonly Check[];
  /** Their names differ from those of the process's other parts. */
  readonly metrics: Metrics;
}

export interface HealthServerOptions {
  /** Address to listen on. Default 127.0.0.1. */
  readonly host?: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** Names of the parts that have to run for the process to be ready. */
  readonly parts: readonly string[];
  /** Of the process as a whole. */
  readonly metrics: Metrics;
  readonly log: Logger;
  /** Default: the machine's clock. */
  readonly clock?: Clock;
}

export interface HealthServer {
  /** The port that it listens on. */
  readonly port: number;
  /** Says that a part runs, and what it tells. The returned function says that it runs no more. */
  runs(name: string, part: HealthPart): () => void;
  close(): Promise<void>;
}

const checkTimeoutMs = 2_000;

/**
 * Serves /healthz (it answers, so it lives), /readyz (200 "ok", or 500 and what failed; with ?verbose every check, as
 * Kubernetes' servers do) and /metrics of the process and all its parts. Rejects when it cannot listen.
 */
export async function startHealthServer(options: HealthServerOptions): Promise<HealthServer> {
  const running = new Map<string, HealthPart>();
  const server = createServer((request, response) => {
    respond(options, running, request, response).catch((thrown: unknown) => {
      options.log.error({ err: asError(thrown), url: request.url }, 'health request failed');
      if (!response.headersSent) response.writeHead(500);
      response.end();
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, options.host ?? '127.0.0.1', () => {
      server.removeListener('error', reject);
      resolve();
    });
  });
  return {
    port: (server.address() as AddressInfo).port,
    runs: (name, part) => {
      running.set(name, part);
      return () => {
        if (running.get(name) === part) running.delete(name);
      };
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
        server.closeAllConnections();
      }),
  };
}

async function respond(
  options: HealthServerOptions,
  running: ReadonlyMap<string, HealthPart>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { parts, metrics, clock = systemClock } = options;
  const url = new URL(request.url ?? '/', 'http://health');
  const verbose = url.searchParams.has('verbose');
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.writeHead(405, { allow: 'GET, HEAD' }).end();
  } else if (url.pathname === '/healthz' || url.pathname === '/livez') {
    await answer(response, [], verbose, clock);
  } else if (url.pathname === '/readyz') {
    const ready = [...running.values()].flatMap((part) => part.ready);
    await answer(response, [...parts.map((name) => runs(running, name)), ...ready], verbose, clock);
  } else if (url.pathname === '/metrics') {
    const all = [metrics, ...Array.from(running.values(), (part) => part.metrics)];
    const texts = await Promise.all(all.map((each) => each.render()));
    response.writeHead(200, { 'content-type': metrics.contentType }).end(texts.join('\n'));
  } else {
    response.writeHead(404).end();
  }
}

/** A part that is not there has not begun yet, or waits to be started again. */
function runs(running: ReadonlyMap<string, HealthPart>, name: string): Check {
  return {
    name,
    check: () => {
      if (!running.has(name)) throw new Error('not running');
    },
  };
}

async function answer(
  response: ServerResponse,
  checks: readonly Check[],
  verbose: boolean,
  clock: Clock,
): Promise<void> {
  const failures = await Promise.all(checks.map((check) => failureOf(check, clock)));
  const lines = checks.map(({ name }, i) => {
    const failure = failures[i];
    return failure === undefined ? `[+]${name} ok` : `[-]${name} failed: ${failure}`;
  });
  const failed = failures.some((failure) => failure !== undefined);
  const shown = verbose ? lines : lines.filter((line) => line.startsWith('[-]'));
  const text = failed || verbose ? `${shown.join('\n')}\n${failed ? 'failed' : 'ok'}\n` : 'ok';
  response.writeHead(failed ? 500 : 200, { 'content-type': 'text/plain; charset=utf-8' }).end(text);
}

/** What is wrong, or `undefined`. A check that hangs has failed; it must not hang the probe. */
async function failureOf(check: Check, clock: Clock): Promise<string | undefined> {
  const stop = new AbortController();
  let cancel: () => void = () => undefined;
  const timeout = new Promise<string>((resolve) => {
    cancel = clock.schedule(() => {
      stop.abort();
      resolve(`no answer in ${checkTimeoutMs} ms`);
    }, checkTimeoutMs);
  });
  try {
    return await Promise.race([runCheck(check, stop.signal), timeout]);
  } finally {
    cancel();
  }
}

async function runCheck(check: Check, signal: AbortSignal): Promise<string | undefined> {
  try {
    await check.check(signal);
    return undefined;
  } catch (thrown) {
    return asError(thrown).message;
  }
}
