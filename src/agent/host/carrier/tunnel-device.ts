import {
  isTunnelAddress,
  parseTunnelDump,
  tunnelChains,
  tunnelPrefixLength,
  type ObservedTunnel,
} from '../../../network/overlay/tunnel.ts';
import { ExecError, type Exec } from '../exec.ts';
import { allowIpv6 } from '../ipv6/ipv6-kernel.ts';
import { removeChains } from '../nft.ts';
import { addressesOf, deviceEntry, showDevice } from '../show-device.ts';
import { ToolOutputError } from '../tool-output.ts';
import type { TunnelKey } from './tunnel-key-file.ts';
import { DeviceConflictError } from '../vxlan-device.ts';

/** The device of the encrypted tunnel as it should be. */
export interface TunnelSpec {
  readonly name: string;
  /** UDP port of the encrypted packets. */
  readonly port: number;
  readonly mtu: number;
  /** The host's address in the tunnel. */
  readonly address: string;
  readonly key: TunnelKey;
}

/** The overlay is to be encrypted, and this host cannot: something has to be installed or made free. */
export class EncryptionError extends Error {
  override readonly name = 'EncryptionError';
  readonly retryable = true;
}

interface ObservedLink {
  readonly kind: string;
  readonly mtu: number;
  readonly up: boolean;
  /** IPv6 ones that are not link-local, as `address/length`. */
  readonly addresses: readonly string[];
}

async function readLink(
  exec: Exec,
  name: string,
  signal?: AbortSignal,
): Promise<ObservedLink | undefined> {
  const link = await showDevice(exec, name, deviceEntry, signal);
  if (link === undefined) return undefined;
  return {
    kind: link.linkinfo?.info_kind ?? '',
    mtu: link.mtu ?? 0,
    up: link.flags?.includes('UP') ?? false,
    addresses: addressesOf(link, ({ family, scope }) => family === 'inet6' && scope === 'global'),
  };
}

/** The kernel's own device, or the one that the program wireguard-go makes where the kernel has none. */
function isTunnel(link: ObservedLink): boolean {
  return link.kind === 'wireguard' || link.kind === 'tun';
}

/**
 * Makes the device, its key and its address exactly as `spec` says and returns what had to be changed, and what the device holds
 * now. An existing device is corrected in place, so its sessions go on. The peers are left as they are. Throws EncryptionError when
 * WireGuard is missing, DeviceConflictError when the name belongs to something else, or ExecError.
 */
export async function ensureTunnelDevice(
  exec: Exec,
  spec: TunnelSpec,
  signal?: AbortSignal,
): Promise<{ readonly changes: readonly string[]; readonly observed: ObservedTunnel }> {
  const { name, key } = spec;
  const changes: string[] = [];
  let link = await readLink(exec, name, signal);
  if (link !== undefined && !isTunnel(link)) {
    throw new DeviceConflictError(
      `interface ${name} exists, but is a "${link.kind}", not WireGuard's: remove or rename it`,
    );
  }
  if (link === undefined) {
    await addDevice(exec, name, signal);
    changes.push(`device ${name} created`);
    link = await readLink(exec, name, signal);
  }
  const wanted = `${spec.address}/${tunnelPrefixLength}`;
  const commands: string[] = [];
  const fix = (what: string, ...lines: string[]): void => {
    changes.push(what);
    commands.push(...lines);
  };
  changes.push(...(await ensureIpv6(exec, name, signal)));
  if (link?.mtu !== spec.mtu) {
    fix(`${name} given MTU ${spec.mtu}`, `link set dev ${name} mtu ${spec.mtu}`);
  }
  if (link?.up !== true) {
    fix(`${name} set up`, `link set dev ${name} addrgenmode none`, `link set dev ${name} up`);
  }
  if (link?.addresses.includes(wanted) !== true) {
    // Nobody else can have it: to look for it on the link would only cost time.
    fix(`${name} given address ${wanted}`, `addr replace ${wanted} dev ${name} nodad`);
  }
  for (const other of link?.addresses ?? []) {
    if (other !== wanted)
      fix(`address ${other} taken from ${name}`, `addr del ${other} dev ${name}`);
  }
  if (commands.length > 0) {
    const input = commands.join('\n') + '\n';
    await portFree(spec, () => exec('ip', ['-batch', '-'], { input }, signal));
  }
  let observed = await readTunnel(exec, name, signal);
  const wrong = [
    ...(observed.publicKey === key.publicKey ? [] : ['key']),
    ...(observed.port === spec.port ? [] : [`port ${spec.port}`]),
  ];
  if (wrong.length > 0) {
    const port = ['listen-port', String(spec.port), 'private-key', key.path];
    await portFree(spec, () => exec('wg', ['set', name, ...port], {}, signal));
    changes.push(`${name} given its ${wrong.join(' and ')}`);
    observed = await readTunnel(exec, name, signal);
  }
  return { changes, observed };
}

/** Reads what the device holds. Throws EncryptionError when there is no `wg`, DeviceConflictError when nobody answers. */
export async function readTunnel(
  exec: Exec,
  name: string,
  signal?: AbortSignal,
): Promise<ObservedTunnel> {
  let stdout: string;
  try {
    ({ stdout } = await exec('wg', ['show', name, 'dump'], {}, signal));
  } catch (error) {
    if (isMissing(error)) {
      throw new EncryptionError(
        'the overlay is to be encrypted, and this host has no "wg": apt-get install wireguard-tools',
      );
    }
    if (error instanceof ExecError && /Unable to access interface/.test(error.stderr)) {
      throw new DeviceConflictError(
        `nothing answers for interface ${name} as WireGuard does (${error.stderr.trim()}): ` +
          `if there is one, remove it with "ip link del ${name}"`,
      );
    }
    throw error;
  }
  const observed = parseTunnelDump(stdout);
  // The output is not shown: there is a private key in it.
  if (observed === undefined) throw new ToolOutputError('wg show dump printed something unknown');
  return observed;
}

/** Whether there is the device, with an address in the tunnel. Throws ExecError. */
export async function hasTunnelDevice(
  exec: Exec,
  name: string,
  signal?: AbortSignal,
): Promise<boolean> {
  const link = await readLink(exec, name, signal);
  return link !== undefined && isTunnel(link) && link.addresses.some(isTunnelAddress);
}

/** Takes away device and packet rules that an agent has left that did encrypt. Throws ExecError. */
export async function removeTunnelDevice(
  exec: Exec,
  name: string,
  signal?: AbortSignal,
): Promise<void> {
  const link = await readLink(exec, name, signal);
  if (link === undefined || !isTunnel(link)) return;
  // Of the rules only the names matter. The table is also that of the overlay's own IPv6.
  await removeChains(exec, tunnelChains(name, 0), [], signal);
  await exec('ip', ['link', 'del', 'dev', name], {}, signal);
}

/** Adds the kernel's device, or has wireguard-go make one, as wg-quick does. */
async function addDevice(exec: Exec, name: string, signal?: AbortSignal): Promise<void> {
  try {
    await exec('ip', ['link', 'add', 'dev', name, 'type', 'wireguard'], {}, signal);
    return;
  } catch (error) {
    const isUnknown =
      error instanceof ExecError && /unknown device type|not supported/i.test(error.stderr);
    if (!isUnknown) throw error;
  }
  try {
    await exec('wireguard-go', [name], {}, signal);
  } catch (error) {
    if (!isMissing(error)) throw error;
    throw new EncryptionError(
      'the overlay is to be encrypted, and this host has no WireGuard: its kernel lacks the module "wireguard" ' +
        '(part of Linux since 5.6), and there is no program wireguard-go instead (apt-get install wireguard-go)',
    );
  }
}

/** Lets the device have IPv6 addresses, wherever else on the host they are switched off. */
async function ensureIpv6(
  exec: Exec,
  name: string,
  signal?: AbortSignal,
): Promise<readonly string[]> {
  try {
    return await allowIpv6(exec, name, signal);
  } catch (error) {
    if (!(error instanceof ExecError) || !/No such file/.test(error.stderr)) throw error;
    throw new EncryptionError(
      `the overlay is to be encrypted, and this host's kernel has no IPv6, by which hosts speak inside of ${name}: ` +
        'start it without ipv6.disable=1',
    );
  }
}

async function portFree<T>({ name, port }: TunnelSpec, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    if (!(error instanceof ExecError) || !/Address already in use/.test(error.stderr)) throw error;
    throw new EncryptionError(
      `UDP port ${port}, which ${name} is to listen on, is used by another program of this host: stop it, ` +
        'or set another "EncryptionPort" under "Backend" in /coreos.com/network/config and restart the agents',
    );
  }
}

/** Whether the program is not there, run by itself or by a wrapper that exits as a shell does. */
function isMissing(error: unknown): boolean {
  return error instanceof ExecError && (error.notFound || error.exitCode === 127);
}
