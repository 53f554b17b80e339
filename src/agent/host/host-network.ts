import { blockOf, formatIpv4, tryParseIpv4, type Cidr } from '../../network/cidr.ts';
import type { OverlayConfig } from '../../network/overlay-config.ts';
import { dockerForwardRules, overlayChains, type RulesetInput } from '../../network/ruleset.ts';
import {
  desiredTables,
  diffTables,
  peerInTables,
  vxlanOverheadBytes,
  type OverlayTables,
  type Peer,
  type RefusedPeer,
} from '../../network/vxlan.ts';
import { ensureDockerForward, ensureForwarding } from './docker-forward.ts';
import type { Exec } from './exec.ts';
import { applyTables, readTables } from './kernel-tables.ts';
import { ensureChains } from './nft.ts';
import type { Underlay } from './underlay.ts';
import { ensureVxlanDevice, readVxlanDevice, type VxlanSpec } from './vxlan-device.ts';

/** What the kernel side of the overlay depends on. */
export interface HostNetworkSpec {
  readonly config: OverlayConfig;
  readonly subnet: Cidr;
  readonly mac: string;
  readonly underlay: Underlay;
  readonly device: string;
  readonly bridge: string;
  readonly checksumOffload: boolean;
}

/** The largest packet that fits through the overlay. */
export function overlayMtu(config: OverlayConfig, underlay: Underlay): number {
  return Math.min(config.underlayMtu ?? underlay.mtu, underlay.mtu) - vxlanOverheadBytes;
}

/** The subnet and MAC that an existing device shows, from before the agent's restart. */
export async function readPrevious(
  exec: Exec,
  device: string,
  subnetLength: number,
  signal?: AbortSignal,
): Promise<{ readonly subnet: Cidr | undefined; readonly mac: string | undefined }> {
  const observed = await readVxlanDevice(exec, device, signal);
  const own = observed?.addresses.find((address) => address.endsWith('/32'));
  const address = own === undefined ? undefined : tryParseIpv4(own.slice(0, -3));
  return {
    subnet: address === undefined ? undefined : blockOf(address, subnetLength),
    mac: observed?.kind === 'vxlan' && observed.mac !== '' ? observed.mac : undefined,
  };
}

/**
 * The kernel of one host: brings device, tables and packet filter to what `spec` and the peers ask for. Calls must not
 * overlap.
 */
export class HostNetwork {
  readonly #exec: Exec;
  readonly #spec: HostNetworkSpec;
  readonly #rules: RulesetInput;
  /** What the tables hold, as far as is known; undefined after anything that may have changed them. */
  #believed: OverlayTables | undefined;

  constructor(exec: Exec, spec: HostNetworkSpec) {
    this.#exec = exec;
    this.#spec = spec;
    this.#rules = {
      network: spec.config.network,
      subnet: spec.subnet,
      device: spec.device,
      bridge: spec.bridge,
    };
  }

  /** Device, kernel parameters and packet filter. Returns what had to be changed. Throws ExecError or DeviceConflictError. */
  async ensureBase(signal?: AbortSignal): Promise<readonly string[]> {
    const changes: string[] = [];
    const device = await ensureVxlanDevice(this.#exec, this.#deviceSpec(), signal);
    // The kernel drops routes when a device goes down or away.
    if (device.length > 0) this.#believed = undefined;
    changes.push(...device);
    changes.push(...(await ensureChains(this.#exec, overlayChains(this.#rules), signal)));
    changes.push(...(await ensureForwarding(this.#exec, signal)));
    const forward = dockerForwardRules(this.#rules);
    changes.push(...(await ensureDockerForward(this.#exec, forward, signal)));
    return changes;
  }

  /**
   * Routes, neighbours and forwarding entries for the peers of `view`. Hosts whose records cannot be read keep what
   * the kernel has for them. Trusts its memory of what the kernel holds, unless `audit` is
   * set. Returns the number of operations, and the peers that were refused. Throws ExecError; the next call reads the kernel.
   */
  async ensurePeers(
    view: { peers(): Iterable<Peer>; unreadable(): Iterable<Cidr> },
    audit: boolean,
    signal?: AbortSignal,
  ): Promise<{ readonly operations: number; readonly refused: readonly RefusedPeer[] }> {
    const { config, subnet, mac, underlay, device } = this.#spec;
    const self = { network: config.network, subnet, mac, address: underlay.address };
    const observed =
      (audit ? undefined : this.#believed) ?? (await readTables(this.#exec, device, signal));
    const { tables, refused } = desiredTables(self, [
      ...view.peers(),
      ...[...view.unreadable()].flatMap((lost) => peerInTables(observed, lost)),
    ]);
    const ops = diffTables(observed, tables);
    this.#believed = undefined;
    if (ops.length > 0) await applyTables(this.#exec, device, ops, signal);
    this.#believed = tables;
    return { operations: ops.length, refused };
  }

  #deviceSpec(): VxlanSpec {
    const { config, underlay } = this.#spec;
    return {
      name: this.#spec.device,
      vni: config.vni,
      port: config.port,
      mac: this.#spec.mac,
      mtu: overlayMtu(config, underlay),
      underlayDevice: underlay.device,
      underlayAddress: underlay.address,
      address: formatIpv4(this.#spec.subnet.base),
      checksumOffload: this.#spec.checksumOffload,
    };
  }
}
