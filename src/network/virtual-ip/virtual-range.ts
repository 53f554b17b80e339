import {
  AddressError,
  blockSize,
  containsAddress,
  formatCidr,
  overlaps,
  parseCidr,
  tryParseIpv4,
  type Cidr,
} from '../address/cidr.ts';

/** Where services get their virtual IPs from, if nothing else is said. Beside the overlay's default. */
export const defaultVirtualRange = '10.78.0.0/16';

/** A range of virtual IPs cannot be used. */
export class VirtualRangeError extends Error {
  override readonly name = 'VirtualRangeError';
  readonly retryable = false;
}

/** Reads a range. Throws VirtualRangeError when it is none, or of a size that makes no sense. */
export function parseVirtualRange(text: string): Cidr {
  try {
    const range = parseCidr(text);
    if (range.prefix >= 8 && range.prefix <= 28 && formatCidr(range) === text) return range;
  } catch (error) {
    if (!(error instanceof AddressError)) throw error;
  }
  throw new VirtualRangeError(
    `"${text}" is not a range of virtual IPs: use a network of /8 to /28, e.g. ${defaultVirtualRange}`,
  );
}

/** Throws VirtualRangeError when the range and the overlay share addresses. */
export function assertApart(range: Cidr, network: Cidr): void {
  if (!overlaps(range, network)) return;
  throw new VirtualRangeError(
    `the range of virtual IPs ${formatCidr(range)} overlaps the overlay ${formatCidr(network)}: choose another one`,
  );
}

/**
 * The ranges as a host may route them. Throws VirtualRangeError when one would take the host's own address or the overlay
 * away from it: better no virtual IPs than no host.
 */
export function usableRanges(
  texts: readonly string[],
  network: Cidr,
  hostAddress: string,
): readonly Cidr[] {
  return texts.map((text) => {
    const range = parseVirtualRange(text);
    assertApart(range, network);
    if (containsAddress(range, tryParseIpv4(hostAddress) ?? -1)) {
      throw new VirtualRangeError(
        `the range of virtual IPs ${text} holds this host's address ${hostAddress}: choose another one`,
      );
    }
    return range;
  });
}

/** Number of addresses that services can have: not the first and the last one, which some tools take for special. */
export function capacity(range: Cidr): number {
  return blockSize(range.prefix) - 2;
}
