/**
 * Connection marks of mesh ports (mesh-rules.ts): the base, and below it where the host by which a connection has come in is in
 * the overlay.
 */
export const meshMarkBase = 0x6e000000;
export const meshMarkMask = 0xff000000;

/** What iptables must let pass, besides what the overlay needs: connections to mesh ports, in and out of the overlay. */
export const meshForwardRule = `-m connmark --mark ${hex(meshMarkBase)}/${hex(meshMarkMask)} -j ACCEPT`;

/** For nftables: not a connection to a mesh port. */
export const notMesh = `ct mark and ${hex(meshMarkMask)} != ${hex(meshMarkBase)}`;
/** For nftables: a connection to a mesh port. */
export const anyMesh = `ct mark and ${hex(meshMarkMask)} == ${hex(meshMarkBase)}`;

/** As nft prints marks. */
export function hex(value: number): string {
  return `0x${value.toString(16).padStart(8, '0')}`;
}
