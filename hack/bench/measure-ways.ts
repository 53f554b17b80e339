import type { Box } from '../../test/support/box.ts';
import {
  answerHttp,
  answersBy,
  httpFigures,
  measureHttp,
  type HttpReport,
  type HttpWay,
} from './http-way.ts';
import type { Place } from './inside.ts';
import { median, rounded } from './statistics.ts';
import { throughput } from './throughput.ts';

const runs = 5;

/**
 * Figures of each way to `server`, by its name: TCP throughput (but for `router`, which passes HTTP only), new connections per second,
 * and latency. Medians of several runs.
 */
export async function measureWays(
  box: Box,
  server: Place,
  ways: ReadonlyMap<string, HttpWay>,
): Promise<Record<string, number>> {
  const measured = [...ways].map(([name, way]) => {
    return { name, way, gbps: [] as number[], http: [] as HttpReport[] };
  });
  const stop = await answerHttp(box, server);
  try {
    for (const { way } of measured) await answersBy(box, way);
    for (let run = 0; run < runs; run++) {
      // Each has its turn at being the first: what one leaves behind is not always borne by the same one.
      const turn = run % measured.length;
      for (const { name, way, gbps, http } of [
        ...measured.slice(turn),
        ...measured.slice(0, turn),
      ]) {
        if (name !== 'router') gbps.push(await throughput(box, way.from, server, way.address));
        http.push(await measureHttp(box, way));
      }
    }
  } finally {
    stop();
  }
  const figures = measured.map(({ name, gbps, http }) => ({
    ...(gbps.length === 0 ? {} : { [`${name}_gbps`]: rounded(median(gbps)) }),
    ...httpFigures(name, http),
  }));
  return Object.fromEntries(figures.flatMap((each) => Object.entries(each)));
}
