import { isTunnelAddress } from '../../../network/overlay/tunnel.ts';
import type { Exec } from '../exec.ts';
import { readVxlanDevice } from '../vxlan-device.ts';
import { hasDeadEnd } from './dead-end.ts';
import { hasTunnelDevice } from './tunnel-device.ts';

/**
 * What on this host shows that its overlay was encrypted, in words; undefined: nothing does. All of it is the kernel's, is taken back by
 * an agent whose overlay is not encrypted, and is gone after a boot. The file of the host's key says nothing: it stays for good. Throws
 * ExecError.
 */
export async function tracesOfEncryption(
  exec: Exec,
  { vxlan, tunnel }: { readonly vxlan: string; readonly tunnel: string },
  signal?: AbortSignal,
): Promise<string | undefined> {
  const device = await readVxlanDevice(exec, vxlan, signal);
  if (device?.kind === 'vxlan' && isTunnelAddress(device.local ?? '')) {
    return `its device ${vxlan} sends through an encrypted tunnel`;
  }
  if (await hasTunnelDevice(exec, tunnel, signal)) {
    return `its device ${tunnel} is that of an encrypted tunnel`;
  }
  // They are left when the tunnel's program has ended, and all devices with it.
  if (await hasDeadEnd(exec, signal)) {
    return 'it has a route that ends what would leave in the clear ("ip route show type unreachable proto 179")';
  }
  return undefined;
}
