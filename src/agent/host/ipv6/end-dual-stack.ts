import type { Cidr } from '../../../network/address/cidr.ts';
import { parseIpv6Prefix, formatIpv6, tryParseIpv6 } from '../../../network/address/dual-stack.ts';
import {
  isolationIpv6Chains,
  isolationIpv6Sets,
} from '../../../network/isolation/isolation-ipv6.ts';
import { bridgedIpv6Chain, overlayIpv6Chains } from '../../../network/nftables/ruleset-ipv6.ts';
import { removeIpv6DeadEnds } from '../carrier/dead-end.ts';
import { removeDockerForward } from '../docker-forward.ts';
import { ExecError, type Exec } from '../exec.ts';
import { removeChains } from '../nft.ts';
import { readVxlanDevice } from '../vxlan-device.ts';

/** Any will do: of the chains only the names matter. */
const somePrefix = parseIpv6Prefix('::/96');

/**
 * Takes back what an earlier agent has left of IPv6 in the overlay, where it is off: rules, routes and addresses. That the host
 * passes IPv6 on stays as it is, for others may depend on it by now. Does nothing where nothing was left. Throws ExecError.
 */
export async function endDualStack(
  exec: Exec,
  is: {
    readonly network: Cidr;
    readonly subnet: Cidr;
    readonly device: string;
    readonly bridge: string;
  },
  signal?: AbortSignal,
): Promise<void> {
  const { device, bridge, subnet } = is;
  const addresses = (await readVxlanDevice(exec, device, signal))?.ipv6Addresses ?? [];
  const chains = [
    ...overlayIpv6Chains(is, somePrefix),
    ...isolationIpv6Chains(is, somePrefix),
    bridgedIpv6Chain(bridge),
  ];
  const hadRules = await removeChains(exec, chains, isolationIpv6Sets, signal);
  if (!hadRules && addresses.length === 0) return;
  await removeDockerForward(exec, 'ip6tables', signal);
  await removeIpv6DeadEnds(exec, signal);
  await exec('ip', ['-6', 'route', 'flush', 'dev', device], {}, signal);
  await exec('ip', ['-6', 'neigh', 'flush', 'dev', device, 'nud', 'permanent'], {}, signal);
  for (const address of addresses) {
    const own = tryParseIpv6(address.split('/')[0] ?? '');
    if (own === undefined) continue;
    const gateway = `${formatIpv6(own + 1n)}/${96 + subnet.prefix}`;
    try {
      await exec('ip', ['addr', 'del', gateway, 'dev', bridge], {}, signal);
    } catch (error) {
      // Docker has made the bridge anew without, or it is gone.
      if (!(error instanceof ExecError) || error.notFound || error.cancelled) throw error;
    }
  }
  // The addresses last: they tell that there is something to take back.
  for (const address of addresses) {
    await exec('ip', ['addr', 'del', address, 'dev', device], {}, signal);
  }
}
