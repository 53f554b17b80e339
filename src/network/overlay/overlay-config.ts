import {
  blockSize,
  containsAddress,
  formatCidr,
  formatIpv4,
  lastOf,
  parseCidr,
  tryParseIpv4,
  type Cidr,
} from '../address/cidr.ts';
import type { Ipv6Prefix } from '../address/dual-stack.ts';
import { ipv6NetworkOf } from './ipv6-network.ts';
import { defaultTunnelPort, leastUnderlayMtu } from './tunnel.ts';

/** The overlay as all hosts see it: flannel's network config with every default filled in. */
export interface OverlayConfig {
  readonly network: Cidr;
  /** Prefix length of a host's subnet. */
  readonly subnetLength: number;
  /** First address of the first and of the last subnet that hosts may take. */
  readonly subnetMin: number;
  readonly subnetMax: number;
  readonly vni: number;
  /** UDP port of the encapsulated packets. */
  readonly port: number;
  /** MTU to assume for the underlay instead of the interface's own. */
  readonly underlayMtu?: number;
  /** Present: packets between hosts are encrypted by WireGuard, on this UDP port. */
  readonly encryption?: { readonly port: number };
  /** Hosts on one layer-2 segment reach each other's containers without the tunnel (direct-routes.ts). */
  readonly directRouting?: true;
  /** Present: every address of the overlay has a twin in IPv6 (dual-stack.ts). */
  readonly ipv6?: Ipv6Prefix;
}

/** flannel's network config as found in the store (only what is read here). */
export interface RawNetworkConfig {
  readonly Network: string;
  readonly SubnetLen?: number | undefined;
  readonly SubnetMin?: string | undefined;
  readonly SubnetMax?: string | undefined;
  readonly EnableIPv4?: boolean | undefined;
  readonly EnableIPv6?: boolean | undefined;
  readonly IPv6Network?: unknown;
  readonly IPv6SubnetLen?: unknown;
  readonly IPv6SubnetMin?: unknown;
  readonly IPv6SubnetMax?: unknown;
  readonly Backend: {
    readonly Type: string;
    readonly VNI?: number | undefined;
    readonly Port?: number | undefined;
    readonly Encryption?: unknown;
    readonly EncryptionPort?: unknown;
    readonly [option: string]: unknown;
  };
}

/** Written when the store has no config yet. */
export const defaultNetworkConfig = {
  Network: '10.77.0.0/16',
  Backend: { Type: 'vxlan' },
} as const satisfies RawNetworkConfig;

/** The kernel's own UDP port for VXLAN. */
const defaultPort = 8472;

/** Backends of flannel's that encrypt. */
const encrypting: ReadonlySet<string> = new Set(['wireguard', 'ipsec']);

/** The network config cannot be used. Somebody must correct it; until then the host has no overlay. */
export class OverlayConfigError extends Error {
  override readonly name = 'OverlayConfigError';
  readonly retryable = false;
}

/**
 * Checks and completes a network config by flannel's rules, so that nap and flanneld read one config alike.
 * Throws OverlayConfigError. Source: flannel-io/flannel pkg/subnet/config.go, CheckNetworkConfig; VNI and port:
 * pkg/backend/vxlan/vxlan.go (VNI 1; port 0 means the kernel's default, 8472).
 */
export function overlayConfig(raw: RawNetworkConfig): OverlayConfig {
  const network = parsed(raw.Network);
  // The first subnet is never used (its first address would be the network's), and two hosts at least should fit.
  if (network.prefix > 28) {
    throw new OverlayConfigError(`network ${raw.Network} is too small: /28 is the least`);
  }
  const subnetLength = raw.SubnetLen ?? (network.prefix <= 22 ? 24 : network.prefix + 2);
  // A host's subnet needs the tunnel's, the bridge's, a container's and the broadcast address.
  if (!Number.isInteger(subnetLength) || subnetLength > 30) {
    throw new OverlayConfigError(`SubnetLen ${subnetLength} is too long: 30 is the most`);
  }
  if (subnetLength < network.prefix + 2) {
    throw new OverlayConfigError(
      `SubnetLen ${subnetLength} leaves fewer than four subnets in ${raw.Network}`,
    );
  }
  const size = blockSize(subnetLength);
  const bound = (name: 'SubnetMin' | 'SubnetMax', fallback: number): number => {
    const text = raw[name];
    if (text === undefined || text === '') return fallback;
    const address = tryParseIpv4(text);
    if (address === undefined || !containsAddress(network, address)) {
      throw new OverlayConfigError(`${name} "${text}" is not an address of ${formatCidr(network)}`);
    }
    if (address % size !== 0) {
      throw new OverlayConfigError(`${name} ${text} is not the start of a /${subnetLength}`);
    }
    return address;
  };
  const subnetMin = bound('SubnetMin', network.base + size);
  const subnetMax = bound('SubnetMax', lastOf(network) + 1 - size);
  if (subnetMin > subnetMax) {
    throw new OverlayConfigError(
      `SubnetMin ${formatIpv4(subnetMin)} lies after SubnetMax ${formatIpv4(subnetMax)}`,
    );
  }
  if (raw.Backend.Type === 'host-gw') {
    // Mesh ports need the tunnel: it alone carries clients' addresses past the physical network, and tells by whom they come.
    throw new OverlayConfigError(
      'the network uses flannel\'s backend "host-gw", which has no tunnel, and nap needs one for hosts behind a router and for ' +
        'mesh ports; {"Type": "vxlan", "DirectRouting": true} routes between hosts on one segment as host-gw does',
    );
  }
  if (raw.Backend.Type !== 'vxlan') {
    const instead = encrypting.has(raw.Backend.Type)
      ? '; to encrypt, say "Backend": {"Type": "vxlan", "Encryption": "wireguard"}'
      : '';
    throw new OverlayConfigError(
      `the network uses flannel's backend "${raw.Backend.Type}"; nap speaks "vxlan" only${instead}`,
    );
  }
  if (raw.EnableIPv4 === false) {
    throw new OverlayConfigError(
      "EnableIPv4: false: nap's overlay carries IPv4 always, and IPv6 beside it with EnableIPv6: true",
    );
  }
  const ipv6 = ipv6Checked(raw, { subnetLength, subnetMin, subnetMax });
  const vni = raw.Backend.VNI ?? 1;
  if (!Number.isInteger(vni) || vni < 1 || vni >= 2 ** 24) {
    throw new OverlayConfigError(`VNI ${vni} is not in 1..${2 ** 24 - 1}`);
  }
  const port = raw.Backend.Port ?? 0;
  if (!Number.isInteger(port) || port < 0 || port > 65535) {
    throw new OverlayConfigError(`port ${port} is not in 0..65535`);
  }
  const encryption = encryptionOf(raw.Backend, port === 0 ? defaultPort : port);
  // Options of flannel's that change what hosts must do; ignoring one would lose packets without a word.
  for (const option of ['Learning', 'GBP']) {
    if (raw.Backend[option] === true) {
      throw new OverlayConfigError(`the backend option "${option}" is not supported by nap`);
    }
  }
  const direct = raw.Backend['DirectRouting'] ?? false;
  if (typeof direct !== 'boolean') {
    throw new OverlayConfigError(`DirectRouting ${JSON.stringify(direct)} is not true or false`);
  }
  const mtu = raw.Backend['MTU'] ?? 0;
  if (
    typeof mtu !== 'number' ||
    !Number.isInteger(mtu) ||
    (mtu !== 0 && mtu < 576) ||
    mtu > 65535
  ) {
    throw new OverlayConfigError(`MTU ${JSON.stringify(mtu)} is not in 576..65535`);
  }
  if (encryption !== undefined && mtu !== 0 && mtu < leastUnderlayMtu) {
    throw new OverlayConfigError(
      `MTU ${mtu} is too small with Encryption: ${leastUnderlayMtu} is the least`,
    );
  }
  return {
    network,
    subnetLength,
    subnetMin,
    subnetMax,
    vni,
    port: port === 0 ? defaultPort : port,
    ...(mtu === 0 ? {} : { underlayMtu: mtu }),
    ...(encryption === undefined ? {} : { encryption }),
    ...(direct && { directRouting: true }),
    ...(ipv6 === undefined ? {} : { ipv6 }),
  };
}

/** nap's own options beside flannel's: how packets between hosts are encrypted. Throws OverlayConfigError. */
function encryptionOf(
  backend: RawNetworkConfig['Backend'],
  vxlanPort: number,
): OverlayConfig['encryption'] {
  const { Encryption: kind, EncryptionPort: port } = backend;
  if (kind === undefined) {
    if (port === undefined) return undefined;
    throw new OverlayConfigError(
      `EncryptionPort ${JSON.stringify(port)} is set, but not Encryption: say "Encryption": "wireguard", or leave both out`,
    );
  }
  if (kind !== 'wireguard') {
    throw new OverlayConfigError(
      `Encryption ${JSON.stringify(kind)} is unknown: say "wireguard", or leave it out to send in the clear`,
    );
  }
  if (backend['DirectRouting'] === true) {
    throw new OverlayConfigError(
      'DirectRouting: true sends in the clear what Encryption: "wireguard" is to encrypt: leave one of the two out',
    );
  }
  const number = port ?? defaultTunnelPort;
  if (typeof number !== 'number' || !Number.isInteger(number) || number < 1 || number > 65535) {
    throw new OverlayConfigError(`EncryptionPort ${JSON.stringify(port)} is not in 1..65535`);
  }
  if (number === vxlanPort) {
    throw new OverlayConfigError(
      `EncryptionPort ${number} is also VXLAN's port: choose another one, such as ${defaultTunnelPort}`,
    );
  }
  return { port: number };
}

function ipv6Checked(...input: Parameters<typeof ipv6NetworkOf>): Ipv6Prefix | undefined {
  try {
    return ipv6NetworkOf(...input);
  } catch (error) {
    throw new OverlayConfigError((error as Error).message);
  }
}

function parsed(text: string): Cidr {
  try {
    return parseCidr(text);
  } catch (error) {
    throw new OverlayConfigError(`Network: ${(error as Error).message}`);
  }
}
