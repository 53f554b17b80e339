/**
 * A backend has more servers than instances, so that instances can come without HAProxy being loaded anew: the agent
 * gives the spare ones addresses over HAProxy's socket. The number changes rarely: it grows to double what is needed, and shrinks
 * when it has become far too large.
 */

const least = 4;
const tooMany = 8;

/** @param present servers that the backend has now; undefined: it is new. */
export function slotsFor(addresses: number, present: number | undefined): number {
  if (
    present !== undefined &&
    present >= addresses &&
    present <= Math.max(least, addresses) * tooMany
  ) {
    return present;
  }
  let slots = least;
  while (slots < addresses * 1.25) slots *= 2;
  return slots;
}
