import { z } from 'zod';
import type { Box } from '../../test/support/box.ts';
import { output } from '../../test/support/command.ts';
import { eventually } from '../../test/support/eventually.ts';
import type { Place } from './inside.ts';

/** Where iperf3 listens. */
export const throughputPort = 5201;

const seconds = 3;
const report = z.object({
  end: z.object({ sum_received: z.object({ bits_per_second: z.number() }) }),
});

/** TCP from `client` to an address that leads to `server`, Gbit/s. */
export async function throughput(
  box: Box,
  client: Place,
  server: Place,
  address: string,
): Promise<number> {
  // It serves one client and ends.
  await output([...(await box.prefix(server)), 'iperf3', '-s', '-1', '-D']);
  const ask = [...(await box.prefix(client)), 'iperf3', '-J', '-c', address, '-t', String(seconds)];
  const text = await eventually('iperf3 answers', () => output(ask), 20_000);
  return report.parse(JSON.parse(text)).end.sum_received.bits_per_second / 1e9;
}
