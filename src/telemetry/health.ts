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

export interface HealthServerOptions {
  /** Address to listen on. Default 127.0.0.1. */
  readonly host?: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** /healthz: when one fails, the process should be restarted. Default: none; it answers, so it lives. */
  readonly live?: readonly Check[];
  /** /readyz: when one fails, it should get no work. The live ones count too. Default: none. */
  readonly ready?: readonly Check[];
  /** /metrics. Default: not served. */
  readonly metrics?: Metrics;
  readonly log: Logger;
  /** Default: the machine's clock. */
  readonly clock?: Clock;
}

export interface HealthServer {
  /** The port that it listens on. */
  readonly port: number;
  close(): Promise<void>;
}

const checkTimeoutMs = 2_000;

/**
 * Serves /healthz, /readyz (200 "ok", or 500 and what failed; with ?verbose every check, as Kubernetes'
 * servers do) and /metrics. Rejects when it cannot listen.
 */
export async function startHealthServer(options: HealthServerOptions): Promise<HealthServer> {
  const server = createServer((request, response) => {
    respond(options, request, response).catch((thrown: unknown) => {
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
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { live = [], ready = [], metrics, clock = systemClock } = options;
  const url = new URL(request.url ?? '/', 'http://health');
  const verbose = url.searchParams.has('verbose');
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.writeHead(405, { allow: 'GET, HEAD' }).end();
  } else if (url.pathname === '/healthz' || url.pathname === '/livez') {
    await answer(response, live, verbose, clock);
  } else if (url.pathname === '/readyz') {
    await answer(response, [...live, ...ready], verbose, clock);
  } else if (url.pathname === '/metrics' && metrics !== undefined) {
    const text = await metrics.render();
    response.writeHead(200, { 'content-type': metrics.contentType }).end(text);
  } else {
    response.writeHead(404).end();
  }
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
