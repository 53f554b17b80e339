import type { Cidr } from '../../../network/address/cidr.ts';
import type { OverlayConfig } from '../../../network/overlay/overlay-config.ts';
import { isTunnelAddress } from '../../../network/overlay/tunnel.ts';
import type { Clock } from '../../../runtime/clock.ts';
import { plainCarrier, underlayMtu, type Carrier } from './carrier.ts';
import { ensureDeadEnd, removeIpv4DeadEnds, removeIpv6DeadEnds } from './dead-end.ts';
import { endDirectRouting } from '../direct/direct-paths.ts';
import type { Exec } from '../exec.ts';
import { requireIpv6 } from '../ipv6/ipv6-kernel.ts';
import { removeTunnelDevice } from './tunnel-device.ts';
import type { TunnelKey } from './tunnel-key-file.ts';
import { Tunnel } from './tunnel.ts';
import type { Underlay } from './underlay.ts';
import { dropVxlanDevice } from '../vxlan-device.ts';

/**
 * Before anything else that may fail, has nothing go on in the clear that is to be encrypted, though an agent may have left the devices and
 * the direct routes for it. Does nothing if the network config asks for no encryption. Throws Ipv6Error or ExecError.
 */
export async function stopPlainTraffic(
  exec: Exec,
  config: OverlayConfig,
  vxlanDevice: string,
  signal?: AbortSignal,
): Promise<void> {
  if (config.encryption === undefined) return;
  const { network, ipv6 } = config;
  await ensureDeadEnd(exec, { network }, signal);
  try {
    // They go before all others, the dead end as well.
    await endDirectRouting(exec, vxlanDevice, signal);
    if (ipv6 !== undefined) {
      await requireIpv6(exec, signal);
      await ensureDeadEnd(exec, { network, ipv6 }, signal);
    }
  } finally {
    // Also where the kernel has no IPv6 to have a dead end in.
    await dropVxlanDevice(exec, vxlanDevice, isTunnelAddress, signal);
  }
}

/**
 * The carrier that the network config asks for. A tunnel that is not wanted any more is taken away. Throws
 * ExecError.
 */
export async function prepareCarrier(
  input: {
    readonly exec: Exec;
    readonly clock: Clock;
    readonly config: OverlayConfig;
    readonly underlay: Underlay;
    readonly subnet: Cidr;
    /** Present if the config asks for encryption. */
    readonly key: TunnelKey | undefined;
    /** Name of the tunnel's device. */
    readonly device: string;
  },
  signal?: AbortSignal,
): Promise<Carrier> {
  const { exec, clock, config, underlay, subnet, key, device } = input;
  const { encryption, port: vxlanPort } = config;
  if (encryption === undefined || key === undefined) {
    await removeTunnelDevice(exec, device, signal);
    await removeIpv4DeadEnds(exec, signal);
    // Where there is no IPv6 any more, they go with all else of it.
    if (config.ipv6 !== undefined) await removeIpv6DeadEnds(exec, signal);
    return plainCarrier(underlay);
  }
  return new Tunnel({
    ...{ exec, clock, device, subnet, key, vxlanPort, port: encryption.port },
    network: config.network,
    ipv6: config.ipv6,
    underlayMtu: underlayMtu(config, underlay),
  });
}
