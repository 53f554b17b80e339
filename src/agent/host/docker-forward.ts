import { dockerChain } from '../../network/nftables/ruleset.ts';
import type { Exec } from './exec.ts';
import { ensureSysctls } from './sysctl.ts';

const forwardingKey = 'net/ipv4/ip_forward';

/**
 * Lets the host pass packets on. If it did not so far, its `FORWARD` policy becomes DROP first, as dockerd does it:
 * else it would route for any stranger from now on, and dockerd, finding forwarding on, would not prevent it. Returns what
 * was changed.
 */
export async function ensureForwarding(
  exec: Exec,
  signal?: AbortSignal,
): Promise<readonly string[]> {
  const { stdout } = await exec('sysctl', ['-n', forwardingKey], {}, signal);
  if (stdout.trim() === '1') return [];
  await exec('iptables', ['-w', '5', '-P', 'FORWARD', 'DROP'], {}, signal);
  return ensureSysctls(exec, { [forwardingKey]: '1' }, signal);
}

/** Takes nap's chain and the jump to it away. The chains that dockerd adopts stay. Throws ExecError. */
export async function removeDockerForward(
  exec: Exec,
  iptables: 'iptables' | 'ip6tables',
  signal?: AbortSignal,
): Promise<void> {
  const { stdout } = await exec(iptables, ['-w', '5', '-t', 'filter', '-S'], {}, signal);
  const lines = stdout.split('\n').map((line) => line.trim());
  if (!lines.includes(`-N ${dockerChain}`)) return;
  const jumps = lines.filter((line) => line === `-A DOCKER-USER -j ${dockerChain}`);
  const script = [
    ...jumps.map(() => `-D DOCKER-USER -j ${dockerChain}`),
    `-F ${dockerChain}`,
    `-X ${dockerChain}`,
  ];
  const input = ['*filter', ...script, 'COMMIT', ''].join('\n');
  await exec(`${iptables}-restore`, ['-w', '5', '--noflush'], { input }, signal);
}

/**
 * Lets the overlay through Docker's `FORWARD` policy (DROP): fills nap's own chain and jumps to it from `DOCKER-USER`,
 * which dockerd calls first and leaves alone. Works before the first dockerd start, too: then the chain and the call
 * are made as dockerd would make them, and it adopts both. Other tools' rules stay as they are. Returns what had to be
 * changed. Source: moby/libnetwork firewall_linux.go, arrangeUserFilterRule.
 * @param undocked what else is to pass where dockerd leaves these tables alone (before version 27, those of IPv6)
 */
export async function ensureDockerForward(
  exec: Exec,
  wanted: readonly string[],
  signal?: AbortSignal,
  iptables: 'iptables' | 'ip6tables' = 'iptables',
  undocked: readonly string[] = [],
): Promise<readonly string[]> {
  const { stdout } = await exec(iptables, ['-w', '5', '-t', 'filter', '-S'], {}, signal);
  const lines = stdout.split('\n').map((line) => line.trim());
  const rules = lines.includes('-N DOCKER') ? wanted : [...wanted, ...undocked];
  const appended = (chain: string): readonly string[] =>
    lines
      .filter((line) => line.startsWith(`-A ${chain} `))
      .map((line) => line.slice(chain.length + 4));

  const script: string[] = [];
  const changes: string[] = [];
  if (
    appended(dockerChain).join('\n') !== rules.join('\n') ||
    !lines.includes(`-N ${dockerChain}`)
  ) {
    // Declaring a chain in a --noflush script creates or empties it.
    script.push(`:${dockerChain} - [0:0]`, ...rules.map((rule) => `-A ${dockerChain} ${rule}`));
    changes.push(`${iptables} chain ${dockerChain} filled`);
  }
  const user = appended('DOCKER-USER');
  const jump = `-j ${dockerChain}`;
  if (!lines.includes('-N DOCKER-USER')) {
    script.push(':DOCKER-USER - [0:0]');
    changes.push(`${iptables} chain DOCKER-USER created`);
  }
  const ownJumps = user.filter((rule) => rule === jump).length;
  // After Docker's closing RETURN the jump would never be reached. Rules of the host's owner before it keep their say.
  const reached = user.includes(jump) && !user.slice(0, user.indexOf(jump)).includes('-j RETURN');
  if (!reached || ownJumps > 1) {
    for (let i = 0; i < ownJumps; i++) script.push(`-D DOCKER-USER ${jump}`);
    script.push(`-I DOCKER-USER 1 ${jump}`);
    changes.push(`${iptables} jump from DOCKER-USER to ${dockerChain} inserted`);
  }
  if (!appended('FORWARD').includes('-j DOCKER-USER')) {
    script.push('-I FORWARD 1 -j DOCKER-USER');
    changes.push(`${iptables} jump from FORWARD to DOCKER-USER inserted`);
  }
  if (script.length > 0) {
    const input = ['*filter', ...script, 'COMMIT', ''].join('\n');
    await exec(`${iptables}-restore`, ['-w', '5', '--noflush'], { input }, signal);
  }
  return changes;
}
