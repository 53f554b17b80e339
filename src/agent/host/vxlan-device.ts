import { z } from 'zod';
import { normalizeMac } from '../../network/overlay/vxlan.ts';
import { ExecError, type Exec } from './exec.ts';
import { allowIpv6 } from './ipv6/ipv6-kernel.ts';
import { addressesOf, deviceEntry, showDevice } from './show-device.ts';
import { ensureSysctls } from './sysctl.ts';

/** The VXLAN device as it should be. */
export interface VxlanSpec {
  readonly name: string;
  readonly vni: number;
  readonly port: number;
  readonly mac: string;
  readonly mtu: number;
  /** Interface and address, IPv4 or IPv6, that its packets leave from. */
  readonly underlayDevice: string;
  readonly underlayAddress: string;
  /** The device's only IPv4 address, held with length 32. */
  readonly address: string;
  /** Its only IPv6 address that is not link-local, held with length 128. Absent: what it has in IPv6 is left as it is. */
  readonly ipv6Address?: string | undefined;
  /** Whether the device may leave checksums of inner packets to the hardware; see `checksumOffloadIsSafe`. */
  readonly checksumOffload: boolean;
}

/** What the kernel has under the device's name. */
export interface ObservedVxlan {
  readonly kind: string;
  readonly mac: string;
  readonly mtu: number;
  readonly up: boolean;
  readonly vni: number | undefined;
  readonly port: number | undefined;
  readonly local: string | undefined;
  readonly link: string | undefined;
  readonly learning: boolean;
  /** `address/length`. */
  readonly addresses: readonly string[];
  /** The same for IPv6, without link-local ones. */
  readonly ipv6Addresses: readonly string[];
}

/** Something that is not nap's stands in the way, and nap will not remove it. */
export class DeviceConflictError extends Error {
  override readonly name = 'DeviceConflictError';
  readonly retryable = true;
}

const vxlanEntry = deviceEntry.extend({
  address: z.string().optional(),
  linkinfo: z
    .looseObject({
      info_kind: z.string().optional(),
      info_data: z
        .looseObject({
          id: z.int().optional(),
          port: z.int().optional(),
          local: z.string().optional(),
          local6: z.string().optional(),
          link: z.string().optional(),
          learning: z.boolean().optional(),
        })
        .optional(),
    })
    .optional(),
});

/** Reads the device; undefined when there is none of that name. */
export async function readVxlanDevice(
  exec: Exec,
  name: string,
  signal?: AbortSignal,
): Promise<ObservedVxlan | undefined> {
  const link = await showDevice(exec, name, vxlanEntry, signal);
  if (link === undefined) return undefined;
  const data = link.linkinfo?.info_data;
  return {
    kind: link.linkinfo?.info_kind ?? '',
    mac: normalizeMac(link.address ?? '') ?? '',
    mtu: link.mtu ?? 0,
    up: link.flags?.includes('UP') ?? false,
    vni: data?.id,
    port: data?.port,
    local: data?.local ?? data?.local6,
    link: data?.link,
    learning: data?.learning ?? true,
    addresses: addressesOf(link, ({ family }) => family === 'inet'),
    ipv6Addresses: addressesOf(link, ({ family, scope }) => family === 'inet6' && scope !== 'link'),
  };
}

/**
 * Makes the device exactly as `spec` says and returns what had to be changed; nothing when all is well. An existing
 * device is corrected in place, so that its traffic goes on; only properties that the kernel cannot change make it be
 * replaced. Throws ExecError, or DeviceConflictError when the name belongs to something else.
 */
export async function ensureVxlanDevice(
  exec: Exec,
  spec: VxlanSpec,
  signal?: AbortSignal,
): Promise<readonly string[]> {
  const { name } = spec;
  const changes: string[] = [];
  let observed = await readVxlanDevice(exec, name, signal);
  if (observed !== undefined && observed.kind !== 'vxlan') {
    throw new DeviceConflictError(
      `interface ${name} exists, but is a "${observed.kind}", not a VXLAN device: remove or rename it`,
    );
  }
  const misfit = observed === undefined ? undefined : mismatch(observed, spec);
  if (misfit !== undefined) {
    await exec('ip', ['link', 'del', 'dev', name], {}, signal);
    changes.push(`device ${name} removed: ${misfit}`);
    observed = undefined;
  }
  if (observed === undefined) {
    await addDevice(exec, spec, signal);
    changes.push(`device ${name} created`);
    observed = await readVxlanDevice(exec, name, signal);
  }
  const commands: string[] = [];
  const fix = (what: string, ...lines: string[]): void => {
    changes.push(what);
    commands.push(...lines);
  };
  if (observed?.mac !== spec.mac) {
    fix(`${name} given MAC ${spec.mac}`, `link set dev ${name} address ${spec.mac}`);
  }
  if (observed?.mtu !== spec.mtu) {
    fix(`${name} given MTU ${spec.mtu}`, `link set dev ${name} mtu ${spec.mtu}`);
  }
  if (observed?.up !== true) {
    // Without this the kernel adds an IPv6 link-local address and multicasts from it.
    fix(`${name} set up`, `link set dev ${name} addrgenmode none`, `link set dev ${name} up`);
  }
  const wanted = `${spec.address}/32`;
  if (observed?.addresses.includes(wanted) !== true) {
    fix(`${name} given address ${wanted}`, `addr add ${wanted} dev ${name}`);
  }
  for (const other of observed?.addresses ?? []) {
    if (other !== wanted) {
      fix(`address ${other} taken from ${name}`, `addr del ${other} dev ${name}`);
    }
  }
  if (spec.ipv6Address !== undefined) {
    changes.push(...(await allowIpv6(exec, name, signal)));
    const twin = `${spec.ipv6Address}/128`;
    if (observed?.ipv6Addresses.includes(twin) !== true) {
      // Nobody else can have it, and the way to the others' subnets is told by routes.
      fix(`${name} given address ${twin}`, `addr add ${twin} dev ${name} nodad noprefixroute`);
    }
    for (const other of observed?.ipv6Addresses ?? []) {
      if (other !== twin) {
        fix(`address ${other} taken from ${name}`, `addr del ${other} dev ${name}`);
      }
    }
  }
  if (commands.length > 0) {
    await exec('ip', ['-batch', '-'], { input: commands.join('\n') + '\n' }, signal);
  }
  const kernel = await ensureSysctls(
    exec,
    {
      // Packets of remote hosts' own addresses may arrive by another way than the answer takes: loose mode (RFC 3704).
      [`net/ipv4/conf/${name}/rp_filter`]: '2',
    },
    signal,
  );
  changes.push(...kernel, ...(await ensureOffload(exec, spec, signal)));
  return changes;
}

/** Takes the device away if it sends from another address than `isRight` says. */
export async function dropVxlanDevice(
  exec: Exec,
  name: string,
  isRight: (address: string) => boolean,
  signal?: AbortSignal,
): Promise<void> {
  const observed = await readVxlanDevice(exec, name, signal);
  if (observed?.kind !== 'vxlan' || isRight(observed.local ?? '')) return;
  await exec('ip', ['link', 'del', 'dev', name], {}, signal);
}

function mismatch(observed: ObservedVxlan, spec: VxlanSpec): string | undefined {
  const pairs: readonly (readonly [string, unknown, unknown])[] = [
    ['VNI', observed.vni, spec.vni],
    ['port', observed.port, spec.port],
    ['local address', observed.local, spec.underlayAddress],
    ['underlay interface', observed.link, spec.underlayDevice],
    ['learning', observed.learning, false],
  ];
  const wrong = pairs.find(([, is, should]) => is !== should);
  return wrong === undefined
    ? undefined
    : `its ${wrong[0]} is ${String(wrong[1])}, not ${String(wrong[2])}`;
}

async function addDevice(exec: Exec, spec: VxlanSpec, signal?: AbortSignal): Promise<void> {
  const args = ['link', 'add', spec.name, 'address', spec.mac, 'mtu', String(spec.mtu)];
  args.push('type', 'vxlan', 'id', String(spec.vni), 'local', spec.underlayAddress);
  args.push('dev', spec.underlayDevice, 'dstport', String(spec.port), 'nolearning');
  try {
    await exec('ip', args, {}, signal);
  } catch (error) {
    if (error instanceof ExecError && /File exists/.test(error.stderr)) {
      throw new DeviceConflictError(
        `another VXLAN device of this host already uses VNI ${spec.vni} on UDP port ${spec.port} ` +
          `(flannel's, perhaps: see "ip -d link show type vxlan")`,
      );
    }
    throw error;
  }
}

const checksumFeature = 'tx-checksum-ip-generic';

async function ensureOffload(
  exec: Exec,
  spec: VxlanSpec,
  signal?: AbortSignal,
): Promise<readonly string[]> {
  if (spec.checksumOffload) return [];
  const { stdout } = await exec('ethtool', ['-k', spec.name], {}, signal);
  if (!new RegExp(`${checksumFeature}: on`).test(stdout)) return [];
  await exec('ethtool', ['-K', spec.name, checksumFeature, 'off'], {}, signal);
  return [`${checksumFeature} of ${spec.name} switched off`];
}

/**
 * Whether inner checksums may be left to the hardware. They may not on kernels before 5.8, which corrupt them when a
 * packet is both translated and encapsulated, nor on VMware's vmxnet3 cards, which mangle VXLAN on ports that they do
 * not know. Switching it off costs segmentation offload, too: more than half of the throughput, so it is not done
 * where it is not needed. Sources: flannel-io/flannel Documentation/troubleshooting.md ("NAT") and pull request 1282;
 * projectcalico/calico felix/environment/feature_detect.go (ChecksumOffloadBroken) and issue 9433.
 */
export async function checksumOffloadIsSafe(
  exec: Exec,
  underlayDevice: string,
  signal?: AbortSignal,
): Promise<boolean> {
  const release = (await exec('uname', ['-r'], {}, signal)).stdout;
  const [major = 0, minor = 0] = release.split(/[.-]/, 2).map(Number);
  if (major < 5 || (major === 5 && minor < 8)) return false;
  try {
    const { stdout } = await exec('ethtool', ['-i', underlayDevice], {}, signal);
    return !/^driver: vmxnet3$/m.test(stdout);
  } catch (error) {
    // No ethtool, or a device without a driver to ask: nothing speaks against it.
    if (error instanceof ExecError) return true;
    throw error;
  }
}
