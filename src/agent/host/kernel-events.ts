/** What a change in the kernel calls for: to compare all with what it should be, or to look after the bridge's ports. */
export type KernelHint = 'audit' | 'ports';

/**
 * Reads lines of `ip -o -4 monitor link address route` (and more objects) of a host whose overlay has these devices and this bridge. They are hints: what
 * they mean is found out by who gets them. Undefined: nothing of nap's.
 */
export function kernelHints(
  devices: readonly string[],
  bridge: string,
): (line: string) => KernelHint | undefined {
  const wanted = [...devices, bridge].map(escaped).join('|');
  // The device that a line is about, or that a route leads to; not the bridge that a container's veth is plugged into.
  const ours = new RegExp(`^(Deleted )?(\\d+: |.* dev )(${wanted})([\\s:@]|$)`);
  const name = escaped(bridge);
  const port = new RegExp(` master ${name} `);
  // An instance as a neighbour: the kernel knows it by itself, and forgets it by itself.
  const states = 'REACHABLE|STALE|DELAY|PROBE|FAILED|INCOMPLETE';
  const learnt = new RegExp(` dev ${name} .*\\b(${states})\\s*$`);
  const bridgeUp = new RegExp(`^\\d+: ${name}: <[^>]*\\bLOWER_UP\\b`);
  return (line) => {
    if (learnt.test(line)) return undefined;
    // Something is gone, or a device is not up (its flags stand in angle brackets).
    const bad = line.startsWith('Deleted ') || /<(?![^>]*\bUP\b)/.test(line);
    if (bad && ours.test(line)) return 'audit';
    if (port.test(line)) return 'ports';
    // Docker has made the bridge.
    return !bad && bridgeUp.test(line) ? 'audit' : undefined;
  };
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
