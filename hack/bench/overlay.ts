import { z } from 'zod';
import { CommandError } from '../../test/support/command.ts';
import type { BenchCluster } from './bench-cluster.ts';
import { median, rounded } from './statistics.ts';
import { throughput } from './throughput.ts';

const runs = 5;

/** (e) TCP throughput between two hosts through nap's overlay and through a VXLAN made by hand, in Gbit/s. */
export async function benchOverlay(cluster: BenchCluster) {
  const [client, server] = ['h1', 'h2'] as const;
  const sh = async (host: string, ...command: readonly string[]): Promise<string> => {
    const outcome = await cluster.box.sh(host, command);
    if (outcome.code !== 0) throw new CommandError(command, outcome);
    return outcome.stdout;
  };
  const { mtu } = z
    .array(z.object({ mtu: z.number() }))
    .transform(([device]) => device ?? { mtu: 1450 })
    .parse(JSON.parse(await sh(client, 'ip', '-j', 'link', 'show', 'nap.1')));
  for (const [host, peer] of [
    [client, server],
    [server, client],
  ] as const) {
    const own = `192.168.99.${host.slice(1)}`;
    await sh(
      host,
      ...['ip', 'link', 'add', 'byhand', 'type', 'vxlan', 'id', '99', 'dstport', '8473'],
      ...['local', cluster.box.address(host), 'remote', cluster.box.address(peer)],
    );
    await sh(host, 'ip', 'link', 'set', 'byhand', 'mtu', String(mtu), 'up');
    await sh(host, 'ip', 'addr', 'add', `${own}/24`, 'dev', 'byhand');
  }
  const gateway = (
    await cluster.box.docker(
      server,
      'network',
      'inspect',
      'nap',
      '-f',
      '{{(index .IPAM.Config 0).Gateway}}',
    )
  ).trim();
  const nap: number[] = [];
  const hand: number[] = [];
  try {
    for (let run = 0; run < runs; run++) {
      nap.push(await throughput(cluster.box, client, server, gateway));
      hand.push(await throughput(cluster.box, client, server, `192.168.99.${server.slice(1)}`));
    }
  } finally {
    for (const host of [client, server]) await sh(host, 'ip', 'link', 'del', 'byhand');
  }
  return { nap_gbps: rounded(median(nap)), hand_gbps: rounded(median(hand)) };
}
