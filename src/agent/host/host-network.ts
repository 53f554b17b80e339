import { blockOf, formatCidr, formatIpv4, tryParseIpv4, type Cidr } from '../../network/cidr.ts';
import type { OverlayConfig } from '../../network/overlay-config.ts';
import { declarationLines } from '../../network/nft-elements.ts';
import {
  dockerForwardRules,
  overlayChains,
  type Chain,
  type RulesetInput,
} from '../../network/ruleset.ts';
import { meshChains, meshSets } from '../../network/mesh-rules.ts';
import { virtualIpChains, virtualIpSets } from '../../network/virtual-ip-rules.ts';
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
import { applyTables, ensureVirtualRoutes, readTables } from './kernel-tables.ts';
import { ensureHairpin, ensureLocalRouting } from './local-bridge.ts';
import { ensureChains } from './nft.ts';
import { ensureSysctls } from './sysctl.ts';
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

/** Those who keep elements in sets and maps of nap's table. */
export interface ElementKeeper {
  /** Chains that elements go to. */
  readonly chains: Iterable<Chain>;
  /** The table was made anew, or parts of it. */
  distrust(): void;
  /** The other hosts, as this one reaches them. */
  setPeers(network: Cidr, tables: OverlayTables): void;
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
  readonly #elements: ElementKeeper | undefined;
  /** Where virtual IPs are; undefined: not known yet, so what is there stays. */
  #virtualRanges: readonly Cidr[] | undefined;
  #localProblem: string | undefined;
  #peersTold = false;

  constructor(exec: Exec, spec: HostNetworkSpec, elements?: ElementKeeper) {
    this.#exec = exec;
    this.#spec = spec;
    this.#elements = elements;
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
    changes.push(...(await this.ensureLocalRouting(signal)));
    changes.push(...(await this.#ensureChains(signal)));
    if (this.#virtualRanges !== undefined) {
      const ranges = this.#virtualRanges.map(formatCidr);
      const source = formatIpv4(this.#spec.subnet.base);
      const { device: dev } = this.#spec;
      changes.push(...(await ensureVirtualRoutes(this.#exec, dev, ranges, source, signal)));
    }
    changes.push(...(await ensureForwarding(this.#exec, signal)));
    // Clients of mesh ports come out of the overlay under addresses that lie elsewhere (strict would drop them).
    const filter = `net/ipv4/conf/${this.#spec.device}/rp_filter`;
    changes.push(...(await ensureSysctls(this.#exec, { [filter]: '2' }, signal)));
    const forward = dockerForwardRules(this.#rules);
    changes.push(...(await ensureDockerForward(this.#exec, forward, signal)));
    return changes;
  }

  /** Virtual IPs are in these ranges. The next `ensureBase` heeds it. */
  set virtualRanges(ranges: readonly Cidr[]) {
    this.#virtualRanges = ranges;
  }

  /** Why instances of this host cannot speak through virtual IPs as those of several hosts do. */
  get localProblem(): string | undefined {
    return this.#localProblem;
  }

  /** Has instances of this host meet in the packet filter. Returns what was changed. */
  async ensureLocalRouting(signal?: AbortSignal): Promise<readonly string[]> {
    const outcome = await ensureLocalRouting(this.#exec, this.#spec, signal);
    this.#localProblem = outcome.problem;
    return outcome.changes;
  }

  /** An instance's port has come to the bridge. */
  async ensurePorts(signal?: AbortSignal): Promise<void> {
    await ensureHairpin(this.#exec, this.#spec.bridge, signal);
  }

  async #ensureChains(signal?: AbortSignal): Promise<readonly string[]> {
    const ranges = this.#virtualRanges;
    const hideLocal = this.#localProblem !== undefined;
    const virtual =
      this.#elements === undefined
        ? []
        : [
            ...virtualIpChains(this.#rules, ranges ?? [], hideLocal),
            ...meshChains(this.#rules, hideLocal),
            ...this.#elements.chains,
          ];
    const declarations =
      virtual.length === 0 ? [] : declarationLines([...virtualIpSets, ...meshSets]);
    const chains = [...overlayChains(this.#rules), ...virtual];
    const changes = await ensureChains(this.#exec, chains, declarations, signal);
    if (changes.length > 0) this.#elements?.distrust();
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
    if (ops.length > 0 || !this.#peersTold) {
      this.#elements?.setPeers(config.network, tables);
      this.#peersTold = true;
    }
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
