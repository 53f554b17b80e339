/**
 * While an update starts the successor of an instance beside it, two instances have one ordinal for a while. In keys of the
 * registry they are told apart by their seat: `3` and `3.b`. The successor takes whichever seat the old one has not, and
 * keeps it; the next update takes the other one again. So there are never more than two of one ordinal, and neither its
 * container nor its record ever has to be renamed. What people see (hostname, `%i`, status) is the ordinal alone.
 */
const secondSuffix = '.b';

/** An ordinal as people write it; others cannot be wanted. */
const seatPattern = /^([1-9]\d{0,8})(\.b)?$/;

/** The segment of a registry key for this ordinal: "3" or "3.b". */
export function seatKey(ordinal: number | string, second: boolean): string {
  return `${String(ordinal)}${second ? secondSuffix : ''}`;
}

/** Reads a segment of a registry key; undefined when it is none that nap writes. */
export function parseSeat(
  segment: string,
): { readonly ordinal: number; readonly second: boolean } | undefined {
  const match = seatPattern.exec(segment);
  if (match === null) return undefined;
  return { ordinal: Number(match[1]), second: match[2] !== undefined };
}

/** The ordinal as people know it: "3" for "3" and for "3.b". */
export function plainOrdinal(segment: string): string {
  return segment.endsWith(secondSuffix) ? segment.slice(0, -secondSuffix.length) : segment;
}

/** Whether a segment names the second seat. */
export function isSecondSeat(segment: string): boolean {
  return segment.endsWith(secondSuffix);
}
