import type { NetworkState, NetworkWanted } from './engine.ts';

/** Whether the network differs from what is wanted in a way that only replacing it mends. */
export function replaceableNetwork(present: NetworkState, wanted: NetworkWanted): boolean {
  return (
    present.subnet !== wanted.subnet ||
    present.gateway !== wanted.gateway ||
    Object.entries(wanted.options).some(([name, value]) => present.options[name] !== value)
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
    Options: { ...wanted.options },
  };
}
