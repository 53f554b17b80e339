/** Public keys of WireGuard as records carry them. */

/** Whether `text` is a key in the form that `wg` prints: 32 bytes in base64, not all zero. */
export function isTunnelKey(text: unknown): text is string {
  if (typeof text !== 'string' || text.length !== 44) return false;
  const bytes = Buffer.from(text, 'base64');
  return (
    bytes.length === 32 && bytes.toString('base64') === text && bytes.some((byte) => byte !== 0)
  );
}

/** What is wrong with what a record has for a key, for a host that encrypts. */
export function keyProblem(key: unknown): string {
  if (key === undefined || key === null) {
    return (
      'it has no WireGuardPublicKey, and this host sends nothing in the clear: its host runs a stock flanneld, ' +
      'or its agent has not been restarted since encryption was switched on'
    );
  }
  return `its WireGuardPublicKey ${JSON.stringify(key)} is not a key of WireGuard's (32 bytes in base64)`;
}
