import { quantityPattern } from '../formats.ts';

const decimal: Readonly<Record<string, number>> = {
  n: -9,
  u: -6,
  m: -3,
  '': 0,
  k: 3,
  M: 6,
  G: 9,
  T: 12,
  P: 15,
  E: 18,
};
const binary: Readonly<Record<string, bigint>> = Object.fromEntries(
  ['Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'].map((suffix, i) => [suffix, 1024n ** BigInt(i + 1)]),
);

/**
 * A Kubernetes quantity ("500m", "1.5Gi"), kept exactly: `scaled` nano-units, as the smallest suffix is
 * nano; finer input is rounded up, as k8s.io/apimachinery does.
 */
export class Quantity {
  static readonly scale = 1_000_000_000n;
  readonly scaled: bigint;

  constructor(scaled: bigint) {
    this.scaled = scaled;
  }

  /** Undefined for texts that are not quantities. */
  static parse(text: string): Quantity | undefined {
    // A huge exponent must not become a huge number.
    if (text.length > 64 || !quantityPattern.test(text)) return undefined;
    const match = /^([+-]?)(\d*)\.?(\d*)(?:([KMGTPE]i)|([numkMGTPE]?)|[eE]([+-]?\d+))$/.exec(text);
    if (!match) return undefined;
    const [, sign, whole = '', fraction = '', binarySuffix, decimalSuffix, exponent] = match;
    const digits = BigInt(`${whole}${fraction}` || '0');
    let power = 9 - fraction.length;
    let factor = 1n;
    if (binarySuffix !== undefined) factor = binary[binarySuffix] ?? 1n;
    else if (exponent !== undefined) power += Number(exponent);
    else power += decimal[decimalSuffix ?? ''] ?? 0;
    if (Math.abs(power) > 100) return undefined;
    let scaled = digits * factor;
    if (power >= 0) scaled *= 10n ** BigInt(power);
    else {
      const divisor = 10n ** BigInt(-power);
      scaled = (scaled + divisor - 1n) / divisor;
    }
    return new Quantity(sign === '-' ? -scaled : scaled);
  }

  compareTo(other: Quantity): bigint {
    return this.scaled < other.scaled ? -1n : this.scaled > other.scaled ? 1n : 0n;
  }

  isInteger(): boolean {
    return this.scaled % Quantity.scale === 0n;
  }
}
