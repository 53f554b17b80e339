import { areTwinSubnets, isSameIpv6 } from '../../network/address/twins.ts';
import type { NetworkState, NetworkWanted } from './engine.ts';

/** Whether the network differs from what is wanted in a way that only replacing it mends. */
export function replaceableNetwork(present: NetworkState, wanted: NetworkWanted): boolean {
  return (
    present.subnet !== wanted.subnet ||
    present.gateway !== wanted.gateway ||
    differsInIpv6(present, wanted) ||
    Object.entries(wanted.options).some(([name, value]) => present.options[name] !== value)
  );
}

/** An engine may be set up to give each network some IPv6 subnet: one that is not nap's does no harm while nap wants none. */
function differsInIpv6({ subnet, ipv6 }: NetworkState, wanted: NetworkWanted): boolean {
  if (wanted.ipv6 === undefined) {
    return subnet !== undefined && areTwinSubnets(subnet, ipv6?.subnet ?? '');
  }
  const [address, length] = (ipv6?.subnet ?? '').split('/');
  const [wantedAddress = '', wantedLength] = wanted.ipv6.subnet.split('/');
  return !(
    length === wantedLength &&
    isSameIpv6(address ?? '', wantedAddress) &&
    isSameIpv6(ipv6?.gateway ?? '', wanted.ipv6.gateway)
  );
}

/** The body of the "create network" call for a bridge network on the host's overlay subnet. */
export function networkBody(wanted: NetworkWanted) {
  const { subnet, gateway, ipv6 } = wanted;
  return {
    Name: wanted.name,
    Driver: 'bridge',
    CheckDuplicate: true,
    ...(ipv6 !== undefined && { EnableIPv6: true }),
    Labels: { ...wanted.labels },
    IPAM: {
      Driver: 'default',
      Config: [
        { Subnet: subnet, Gateway: gateway },
        ...(ipv6 === undefined ? [] : [{ Subnet: ipv6.subnet, Gateway: ipv6.gateway }]),
      ],
    },
    Options: { ...wanted.options },
  };
}
