import { formatCidr, formatIpv4, type Cidr } from '../../network/address/cidr.ts';
import { ipv6Cidr, ipv6Of } from '../../network/address/dual-stack.ts';
import type { OverlayConfig } from '../../network/overlay/overlay-config.ts';
import type { OverlayInfo } from './network-options.ts';

/** What others on this host need to know of its place in the overlay. */
export function overlayInfo(is: {
  readonly config: OverlayConfig;
  readonly subnet: Cidr;
  readonly mtu: number;
  readonly address: string;
  readonly device: string;
  readonly bridge: string;
}): OverlayInfo {
  const { config, subnet, mtu, address, device, bridge } = is;
  return {
    subnet: formatCidr(subnet),
    gateway: formatIpv4(subnet.base + 1),
    bridge,
    mtu,
    dockerOptions: {
      'com.docker.network.bridge.name': bridge,
      'com.docker.network.bridge.enable_ip_masquerade': 'false',
      'com.docker.network.driver.mtu': String(mtu),
    },
    network: formatCidr(config.network),
    device,
    address,
    ...(config.ipv6 && {
      ipv6Subnet: ipv6Cidr(config.ipv6, subnet),
      ipv6Gateway: ipv6Of(config.ipv6, subnet.base + 1),
    }),
  };
}
