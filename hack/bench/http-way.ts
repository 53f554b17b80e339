import { z } from 'zod';
import type { Box } from '../../test/support/box.ts';
import { output } from '../../test/support/command.ts';
import { eventually } from '../../test/support/eventually.ts';
import { runInside, startInside, stopInside, type Place } from './inside.ts';
import { median, rounded } from './statistics.ts';

/** Where `answerHttp` listens. */
export const answerPort = 7000;

/** A way by which requests come to a server. */
export interface HttpWay {
  /** Where the client is. */
  readonly from: Place;
  readonly address: string;
  readonly port: number;
  /** As the requests name it. Default: the address. */
  readonly host?: string;
}

const report = z.object({
  /** Requests a second, each on a new connection. */
  newPerSecond: z.number(),
  /** Of a request with its new connection, at a modest constant rate. */
  newP50Ms: z.number(),
  newP99Ms: z.number(),
  /** The same on connections that are kept. */
  keptP50Ms: z.number(),
  keptP99Ms: z.number(),
});

/** What http-load.ts has measured. */
export type HttpReport = z.infer<typeof report>;

/** Answers HTTP in the network of `place`. @returns what ends it. */
export async function answerHttp(box: Box, place: Place): Promise<() => void> {
  const server = await startInside(box, place, 'http-answers.ts', String(answerPort));
  return () => {
    stopInside(server);
  };
}

/** Waits until requests are answered by this way. */
export async function answersBy(box: Box, way: HttpWay): Promise<void> {
  const { from, address, port, host = address } = way;
  const ask = [
    ...(await box.prefix(from)),
    ...['curl', '--silent', '--show-error', '--fail', '--max-time', '2'],
    ...['--header', `Host: ${host}`, `http://${address}:${String(port)}/`],
  ];
  await eventually(`${host} answers by ${address}`, () => output(ask), 60_000, 200);
}

/** Loads the server by this way for some ten seconds. */
export async function measureHttp(box: Box, way: HttpWay): Promise<HttpReport> {
  const { from, address, port, host = address } = way;
  const text = await runInside(box, from, 'http-load.ts', address, String(port), host);
  return report.parse(JSON.parse(text));
}

/** Medians of several runs, as the figures of a way. */
export function httpFigures(way: string, runs: readonly HttpReport[]): Record<string, number> {
  const middle = (figure: keyof HttpReport): number =>
    rounded(median(runs.map((each) => each[figure])));
  return {
    [`${way}_cps`]: middle('newPerSecond'),
    [`${way}_new_p50_ms`]: middle('newP50Ms'),
    [`${way}_new_p99_ms`]: middle('newP99Ms'),
    [`${way}_kept_p50_ms`]: middle('keptP50Ms'),
    [`${way}_kept_p99_ms`]: middle('keptP99Ms'),
  };
}
