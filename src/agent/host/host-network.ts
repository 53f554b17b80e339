import {
  blockOf,
  formatCidr,
  formatIpv4,
  tryParseIpv4,
  type Cidr,
} from '../../network/address/cidr.ts';
import { ipv6Of } from '../../network/address/dual-stack.ts';
import type { OverlayConfig } from '../../network/overlay/overlay-config.ts';
import { declarationLines } from '../../network/nftables/nft-elements.ts';
import {
  dockerForwardRules,
  overlayChains,
  type Chain,
  type RulesetInput,
} from '../../network/nftables/ruleset.ts';
import {
  dockerBridgeIpv6Rules,
  dockerForwardIpv6Rules,
  overlayIpv6Chains,
} from '../../network/nftables/ruleset-ipv6.ts';
import { meshChains, meshSets } from '../../network/virtual-ip/mesh-rules.ts';
import { virtualIpChains, virtualIpSets } from '../../network/virtual-ip/virtual-ip-rules.ts';
import {
  desiredTables,
  diffTables,
  peerInTables,
  type OverlayTables,
  type Peer,
  type RefusedPeer,
} from '../../network/overlay/vxlan.ts';
import { findings, tableFindings, type Finding } from '../audit/finding.ts';
import type { Carrier } from './carrier/carrier.ts';
import { endDirectRouting, type DirectPaths } from './direct/direct-paths.ts';
import { ensureDockerForward, ensureForwarding } from './docker-forward.ts';
import { endDualStack } from './ipv6/end-dual-stack.ts';
import type { Exec } from './exec.ts';
import { ensureIpv6Forwarding } from './ipv6/ipv6-kernel.ts';
import { applyTables, ensureVirtualRoutes, readTables, type Families } from './kernel-tables.ts';
import { ensureHairpin, type KernelFiles } from './hairpin.ts';
import { ensureBridge, ensureLocalRouting } from './local-bridge.ts';
import { ensureChains } from './nft.ts';
import { ensureSysctls } from './sysctl.ts';
import { ToolOutputError } from './tool-output.ts';
import { ensureVxlanDevice, readVxlanDevice, type VxlanSpec } from './vxlan-device.ts';

/** What the kernel side of the overlay depends on. */
export interface HostNetworkSpec {
  readonly config: OverlayConfig;
  readonly subnet: Cidr;
  readonly mac: string;
  /** This host's address on the network of the hosts. */
  readonly address: string;
  readonly carrier: Carrier;
  /** WireGuard's, if this host encrypts. */
  readonly publicKey?: string | undefined;
  /** The largest packet that fits through the overlay. */
  readonly mtu: number;
  readonly device: string;
  readonly bridge: string;
  readonly checksumOffload: boolean;
  /** Absent: all goes through the tunnel. */
  readonly direct?: DirectPaths | undefined;
  /** Absent: the kernel's files do not show this host's network. */
  readonly files?: KernelFiles | undefined;
}

/** Those who keep elements in sets and maps of nap's table. */
export interface ElementKeeper {
  /** Chains that elements go to. */
  readonly chains: Iterable<Chain>;
  /** The table was made anew, or parts of it. */
  distrust(): void;
  /**
   * The other hosts, as this one reaches them.
   * @param segment base of the subnet of a host on this one's segment → its MAC there
   */
  setPeers(network: Cidr, peers: readonly Peer[], segment?: ReadonlyMap<string, string>): void;
}

/** Several as one; undefined if there are none. */
export function joinedKeepers(
  keepers: readonly (Pick<ElementKeeper, 'distrust' | 'setPeers'> & Partial<ElementKeeper>)[],
): ElementKeeper | undefined {
  if (keepers.length === 0) return undefined;
  return {
    get chains() {
      return keepers.flatMap(({ chains }) => [...(chains ?? [])]);
    },
    distrust() {
      for (const keeper of keepers) keeper.distrust();
    },
    setPeers(network, peers, segment) {
      for (const keeper of keepers) keeper.setPeers(network, peers, segment);
    },
  };
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
  #localIpv6Problem: string | undefined;
  /** It was there at the last look. */
  #bridgeKnown = false;
  /** The other hosts as those were told who keep elements. */
  #told: string | undefined;
  #segmentTold: ReadonlyMap<string, string> | undefined;
  /** What base and tables were made for when they last stood. */
  #stoodFor: string | undefined;
  #dockerStands = false;
  /** IPv6 is off, and what is left of it is to be taken back: once is enough. */
  #mayEndDualStack = false;
  /** Direct routing is off, and nothing is left of it. */
  #directEnded = false;
  #directProblem: string | undefined;
  #stood: OverlayTables | undefined;

  constructor(exec: Exec, spec: HostNetworkSpec, elements?: ElementKeeper) {
    this.#exec = exec;
    this.#spec = spec;
    this.#elements = elements;
    this.#rules = {
      network: spec.config.network,
      subnet: spec.subnet,
      device: spec.device,
      bridge: spec.bridge,
      ...spec.direct?.rules,
      ...(spec.config.ipv6 && { ipv6: spec.config.ipv6 }),
    };
  }

  /** How hosts are reached without the tunnel; undefined: not at all. */
  get direct(): DirectPaths | undefined {
    return this.#spec.direct;
  }

  /**
   * Device, kernel parameters and packet filter. Returns what somebody else had changed: nothing where another thing is wanted than the
   * last time. Throws ExecError, DeviceConflictError or EncryptionError.
   */
  async ensureBase(signal?: AbortSignal): Promise<readonly Finding[]> {
    const { ipv6 } = this.#rules;
    const changes: Finding[] = [...(await this.#spec.carrier.ensure(signal))];
    const device = await ensureVxlanDevice(this.#exec, this.#deviceSpec(), signal);
    // The kernel drops routes when a device goes down or away.
    if (device.length > 0) this.#believed = undefined;
    if (this.#mayEndDualStack) {
      await endDualStack(this.#exec, this.#rules, signal);
      this.#mayEndDualStack = false;
    }
    changes.push(...findings('device', device));
    changes.push(...(await this.#ensureLocalRouting(signal)));
    changes.push(...findings('chain', await this.#ensureChains(signal)));
    if (this.#virtualRanges !== undefined) {
      const ranges = this.#virtualRanges.map(formatCidr);
      const source = formatIpv4(this.#spec.subnet.base);
      const { device: dev } = this.#spec;
      const routes = await ensureVirtualRoutes(this.#exec, dev, ranges, source, signal);
      changes.push(...findings('route', routes));
    }
    changes.push(...findings('sysctl', await ensureForwarding(this.#exec, signal)));
    // Clients of mesh ports come out of the overlay under addresses that lie elsewhere (strict would drop them).
    const filter = `net/ipv4/conf/${this.#spec.device}/rp_filter`;
    const filters = await ensureSysctls(this.#exec, { [filter]: '2' }, signal);
    changes.push(...findings('sysctl', filters));
    changes.push(...(await this.#ensureDirect(signal)));
    const forward = dockerForwardRules(this.#rules);
    const docker = await ensureDockerForward(this.#exec, forward, signal);
    changes.push(...findings('docker-chain', docker));
    if (ipv6 !== undefined) changes.push(...(await this.#ensureIpv6Forward(signal)));
    const wanted = JSON.stringify([this.#virtualRanges, this.#localProblem]);
    const isSame = this.#stoodFor === wanted;
    this.#stoodFor = wanted;
    return isSame ? changes : [];
  }

  async #ensureIpv6Forward(signal?: AbortSignal): Promise<readonly Finding[]> {
    const forwarding = await ensureIpv6Forwarding(this.#exec, signal);
    const rules = dockerForwardIpv6Rules(this.#rules);
    const more = dockerBridgeIpv6Rules(this.#rules);
    const docker = await ensureDockerForward(this.#exec, rules, signal, 'ip6tables', more);
    return [...findings('sysctl', forwarding), ...findings('docker-chain', docker)];
  }

  /** Virtual IPs are in these ranges. The next `ensureBase` heeds it. */
  set virtualRanges(ranges: readonly Cidr[]) {
    this.#virtualRanges = ranges;
  }

  /** Why instances of this host cannot speak through virtual IPs as those of several hosts do. */
  get localProblem(): string | undefined {
    return this.#localProblem;
  }

  /** Why isolation does not hold in IPv6 between instances of this host. */
  get localIpv6Problem(): string | undefined {
    return this.#localIpv6Problem;
  }

  /** Why it is not known whether something is left of direct routing, which is off. */
  get directProblem(): string | undefined {
    return this.#directProblem;
  }

  /**
   * The Docker network has no IPv6 any more if the overlay carries none: the next `ensureBase` takes back the rest of it. Before, instances
   * of this host have their addresses still, and the rules of isolation for them stay. Returns whether there is something to do.
   */
  dockerNetworkStands(): boolean {
    if (this.#dockerStands) return false;
    this.#dockerStands = true;
    this.#mayEndDualStack = this.#rules.ipv6 === undefined;
    return this.#mayEndDualStack;
  }

  /** Has the bridge stand as Docker made it, and instances of this host meet in the packet filter. */
  async #ensureLocalRouting(signal?: AbortSignal): Promise<readonly Finding[]> {
    const known = this.#bridgeKnown;
    const bridge = await ensureBridge(this.#exec, this.#rules, known, signal);
    this.#bridgeKnown = bridge.exists;
    const outcome = await ensureLocalRouting(
      this.#exec,
      { ...this.#rules, files: this.#spec.files },
      signal,
    );
    this.#localProblem = outcome.problem;
    this.#localIpv6Problem = outcome.ipv6Problem;
    // What a new bridge needs is no repair.
    const chain = known ? findings('chain', outcome.changes) : [];
    return [...findings('bridge', bridge.changes), ...chain];
  }

  /** An instance's port has come to the bridge. */
  async ensurePorts(signal?: AbortSignal): Promise<void> {
    const { bridge, files } = this.#spec;
    await ensureHairpin(this.#exec, bridge, files, signal);
  }

  /** Where it is off, what cannot be read is told, and keeps nothing else from its work. */
  async #ensureDirect(signal?: AbortSignal): Promise<readonly Finding[]> {
    const { direct, carrier } = this.#spec;
    if (direct !== undefined) return direct.ensureBase(signal);
    if (this.#directEnded) return [];
    try {
      const found = await endDirectRouting(this.#exec, carrier.device, signal);
      this.#directEnded = true;
      this.#directProblem = undefined;
      return found;
    } catch (error) {
      if (!(error instanceof ToolOutputError)) throw error;
      this.#directProblem =
        'DirectRouting is off, and it cannot be told whether routes of it are left, by which packets would go past the tunnel: ' +
        error.message;
      return [];
    }
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
    const { ipv6 } = this.#rules;
    const chains = [
      ...overlayChains(this.#rules),
      ...(ipv6 ? overlayIpv6Chains(this.#rules, ipv6) : []),
      ...this.#spec.carrier.chains,
      ...virtual,
    ];
    const changes = await ensureChains(this.#exec, chains, declarations, signal);
    if (changes.length > 0) this.#elements?.distrust();
    return changes;
  }

  /**
   * Routes, neighbours and forwarding entries for the peers of `view`. Hosts whose records cannot be read keep what
   * the kernel has for them. Trusts its memory of what the kernel holds, unless `audit` is
   * set. Returns the number of operations, what an audit has found changed by somebody else, and the peers that were refused. Throws ExecError; the next call reads the kernel.
   */
  async ensurePeers(
    view: { peers(): Iterable<Peer>; unreadable(): Iterable<Cidr> },
    audit: boolean,
    signal?: AbortSignal,
  ): Promise<{
    readonly operations: number;
    readonly repairs: readonly Finding[];
    readonly refused: readonly RefusedPeer[];
  }> {
    const { config, subnet, mac, address, publicKey, carrier, device } = this.#spec;
    const { network, ipv6 } = config;
    const self = { network, subnet, mac, address, publicKey, ipv6 };
    const families: Families = ipv6 === undefined ? ['-4'] : ['-4', '-6'];
    const observed =
      (audit ? undefined : this.#believed) ??
      (await readTables(this.#exec, device, families, signal));
    const lost = [...view.unreadable()].flatMap((unreadable) =>
      peerInTables(observed, unreadable).flatMap((peer) => {
        const known = carrier.knownAt(peer.address);
        return known === undefined ? [] : [{ ...peer, ...known }];
      }),
    );
    const { tables, accepted, refused } = desiredTables(self, [...view.peers(), ...lost], (peer) =>
      carrier.remoteOf(peer),
    );
    const way = await carrier.ensurePeers(accepted, audit, signal);
    const ops = diffTables(observed, tables);
    const repairs = audit && this.#stood !== undefined ? diffTables(observed, this.#stood) : [];
    this.#believed = undefined;
    if (ops.length > 0) await applyTables(this.#exec, device, ops, signal);
    this.#believed = tables;
    this.#stood = tables;
    // After the tunnel, which takes what is not direct any more.
    let directRepairs: readonly Finding[] = [];
    try {
      directRepairs = (await this.#spec.direct?.ensure(tables, audit, signal)) ?? [];
    } finally {
      this.#tellPeers(accepted, ops.length > 0);
    }
    return {
      operations: ops.length + way.operations,
      repairs: [...way.repairs, ...tableFindings(repairs), ...directRepairs],
      refused,
    };
  }

  /** Tells those who keep elements of the other hosts, if they have not heard it, or if `again`. */
  #tellPeers(peers: readonly Peer[], again: boolean): void {
    const segment = this.#spec.direct?.segment;
    const told = peers.map((peer) => `${peer.subnet.base} ${peer.mac} ${peer.address}`).join();
    if (!again && this.#told === told && this.#segmentTold === segment) return;
    this.#elements?.setPeers(this.#spec.config.network, peers, segment);
    this.#told = told;
    this.#segmentTold = segment;
  }

  #deviceSpec(): VxlanSpec {
    const { config, carrier, subnet } = this.#spec;
    return {
      name: this.#spec.device,
      vni: config.vni,
      port: config.port,
      mac: this.#spec.mac,
      mtu: this.#spec.mtu,
      underlayDevice: carrier.device,
      underlayAddress: carrier.address,
      address: formatIpv4(subnet.base),
      ipv6Address: config.ipv6 && ipv6Of(config.ipv6, subnet.base),
      checksumOffload: this.#spec.checksumOffload,
    };
  }
}
