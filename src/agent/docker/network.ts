import type { NetworkState, NetworkWanted } from './engine.ts';

/** Whether the network differs from what is wanted in a way that only replacing it mends. */
export function replaceableNetwork(present: NetworkState, wanted: NetworkWanted): boolean {
  return (
    present.subnet !== wanted.subnet ||
    present.gateway !== wanted.gateway ||
    present.bridge !== wanted.bridge ||
    present.mtu !== wanted.mtu
  );
}

/** The body of the "create network" call for a bridge network on the host's overlay subnet. */
export function networkBody(wanted: NetworkWanted) {
  return {
    Name: wanted.name,
    Driver: 'bridge',
    CheckDuplicate: true,
    Labels: { ...wanted.labels },
    IPAM: { Driver: 'default', Config: [{ Subnet: wanted.subnet, Gateway: wanted.gateway }] },
    Options: {
      'com.docker.network.bridge.name': wanted.bridge,
      'com.docker.network.driver.mtu': String(wanted.mtu),
      // Traffic between hosts must keep its source address; the agent masquerades what leaves the overlay.
      'com.docker.network.bridge.enable_ip_masquerade': 'false',
    },
  };
}
