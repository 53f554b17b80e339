import { z } from 'zod';
import { jsonRecord, type RecordKind } from './record-kind.ts';

/**
 * flannel's own records, byte for byte, so that a stock flanneld can share the overlay.
 * Source: flannel-io/flannel pkg/subnet/config.go (Config) and pkg/lease/lease.go (LeaseAttrs).
 */
export const networkConfig = z.looseObject({
  /** CIDR of the whole overlay. */
  Network: z.string(),
  /** Prefix length of a host's subnet. flannel's default: 24. */
  SubnetLen: z.int().optional(),
  SubnetMin: z.string().optional(),
  SubnetMax: z.string().optional(),
  EnableIPv4: z.boolean().optional(),
  EnableIPv6: z.boolean().optional(),
  Backend: z.looseObject({
    Type: z.string(),
    VNI: z.int().optional(),
    Port: z.int().optional(),
  }),
});

export const networkConfigPath = '/coreos.com/network/config';
export const networkConfigRecords = jsonRecord(
  'network config',
  '/coreos.com/network/',
  ['file'],
  networkConfig,
);

export const subnetLease = z.looseObject({
  PublicIP: z.string(),
  PublicIPv6: z.string().nullish(),
  BackendType: z.string(),
  BackendData: z
    .looseObject({
      VNI: z.int().optional(),
      VtepMAC: z.string(),
      /** nap's own: the host encrypts. Checked where it is used: flannel's records are read whatever is in here. */
      WireGuardPublicKey: z.unknown().optional(),
    })
    .nullish(),
  BackendV6Data: z.unknown().optional(),
});
export type SubnetLease = z.infer<typeof subnetLease>;

/**
 * The IPv4 subnet in the key of a record that a flanneld with IPv6 has written, `…/10.77.3.0-24&fd00:77::-64`; undefined for any
 * other key. Source: flannel-io/flannel pkg/subnet/subnet.go, MakeSubnetKey.
 */
export function flannelDualStackSubnet(path: string): string | undefined {
  const match = /^\/coreos\.com\/network\/subnets\/(\d+\.\d+\.\d+\.\d+)-(\d+)&/.exec(path);
  return match === null ? undefined : `${match[1] ?? ''}/${match[2] ?? ''}`;
}

/** `/coreos.com/network/subnets/10.77.3.0-24`; the key is the CIDR in its usual form. */
export const subnetRecords: RecordKind<{ readonly subnet: string }, SubnetLease> = {
  ...jsonRecord('subnet', '/coreos.com/network/subnets/', ['subnet'], subnetLease),
  path: ({ subnet }) => `/coreos.com/network/subnets/${subnet.replace('/', '-')}`,
  parsePath(path) {
    const match = /^\/coreos\.com\/network\/subnets\/(\d+\.\d+\.\d+\.\d+)-(\d+)$/.exec(path);
    return match === null ? undefined : { subnet: `${match[1] ?? ''}/${match[2] ?? ''}` };
  },
};
