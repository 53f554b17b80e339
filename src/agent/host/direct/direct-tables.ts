import { z } from 'zod';
import {
  directTable,
  probeTable,
  type DirectTables,
} from '../../../network/overlay/direct-routes.ts';
import { normalizeMac } from '../../../network/overlay/vxlan.ts';
import { ExecError, type Exec } from '../exec.ts';
import { ensureSysctls } from '../sysctl.ts';
import { parseTool } from '../tool-output.ts';

const routeList = z.array(z.looseObject({ dst: z.string(), gateway: z.string().optional() }));
const ruleList = z.array(
  z.looseObject({
    priority: z.int(),
    src: z.string().optional(),
    srclen: z.int().optional(),
    dst: z.string().optional(),
    dstlen: z.int().optional(),
    fwmark: z.string().optional(),
    table: z.string().optional(),
  }),
);
const neighbourList = z.array(
  z.looseObject({
    dst: z.string(),
    lladdr: z.string().optional(),
    state: z.array(z.string()).optional(),
  }),
);
const wayList = z.array(
  z.looseObject({ dst: z.string(), gateway: z.string().optional(), dev: z.string().optional() }),
);

/** Reads nap's rules, and the routes in nap's tables. */
export async function readDirectTables(exec: Exec, signal?: AbortSignal): Promise<DirectTables> {
  const tables = [directTable, probeTable];
  const [list, ...inTables] = await Promise.all([
    exec('ip', ['-4', '-j', 'rule', 'show'], {}, signal),
    ...tables.map((table) => readTable(exec, table, signal)),
  ]);
  const rules = new Map<number, string>();
  for (const rule of parseTool(ruleList, list.stdout, 'ip rule')) {
    if (!tables.includes(rule.table ?? '')) continue;
    const end = (address = '0.0.0.0', length = address === '0.0.0.0' ? 0 : 32): string =>
      `${address}/${length}`;
    const mark = rule.fwmark === undefined ? '' : ` fwmark ${rule.fwmark}`;
    const selector = `from ${end(rule.src, rule.srclen)} to ${end(rule.dst, rule.dstlen)}${mark}`;
    rules.set(rule.priority, `${selector} lookup ${rule.table ?? ''}`);
  }
  return { rules, routes: new Map(inTables.flat()) };
}

async function readTable(
  exec: Exec,
  table: string,
  signal?: AbortSignal,
): Promise<readonly (readonly [string, string])[]> {
  try {
    const args = ['-4', '-j', 'route', 'show', 'table', table];
    const { stdout } = await exec('ip', args, {}, signal);
    return parseTool(routeList, stdout, 'ip route').map(({ dst, gateway }) => {
      const destination = dst.includes('/') ? dst : `${dst}/32`;
      return [`${table} ${destination}`, gateway ?? ''];
    });
  } catch (error) {
    // It comes with its first route.
    if (error instanceof ExecError && /table does not exist/.test(error.stderr)) return [];
    throw error;
  }
}

/** Runs commands of `ip`, all of them, even if one fails. Throws ExecError at the end then. */
export async function applyDirect(
  exec: Exec,
  lines: readonly string[],
  signal?: AbortSignal,
): Promise<void> {
  if (lines.length === 0) return;
  const input = lines.join('\n') + '\n';
  await exec('ip', ['-4', '-force', '-batch', '-'], { input, timeoutMs: 30_000 }, signal);
}

/**
 * Which of `addresses` are on the segment of `device`: the kernel would send to them by it and through no gateway. flannel's test
 * (flannel-io/flannel pkg/ip/iface.go, DirectRouting), and the device besides.
 */
export async function onSegment(
  exec: Exec,
  device: string,
  addresses: readonly string[],
  signal?: AbortSignal,
): Promise<ReadonlySet<string>> {
  if (addresses.length === 0) return new Set();
  const input = addresses.map((address) => `route get ${address}\n`).join('');
  const options = { input, timeoutMs: 30_000 };
  let stdout: string;
  try {
    ({ stdout } = await exec('ip', ['-4', '-j', '-force', '-batch', '-'], options, signal));
  } catch (error) {
    // There is no way to some; the others are told.
    if (!(error instanceof ExecError) || error.exitCode === undefined) throw error;
    ({ stdout } = error);
  }
  // A list for each.
  const ways = stdout
    .split('\n')
    .filter((line) => line.trim().startsWith('[{'))
    .flatMap((line) => parseTool(wayList, line, 'ip route get'));
  return new Set(
    ways
      .filter(({ gateway, dev }) => gateway === undefined && dev === device)
      .map(({ dst }) => dst),
  );
}

/** The neighbours on `device` whose MAC is known: address → MAC. None on a device without such addresses. */
export async function readNeighbours(
  exec: Exec,
  device: string,
  signal?: AbortSignal,
): Promise<ReadonlyMap<string, string>> {
  const { stdout } = await exec('ip', ['-4', '-j', 'neigh', 'show', 'dev', device], {}, signal);
  const known = new Map<string, string>();
  for (const { dst, lladdr, state } of parseTool(neighbourList, stdout, 'ip neigh')) {
    const mac = normalizeMac(lladdr ?? '');
    const isSure = !['FAILED', 'INCOMPLETE', 'NOARP'].some((each) => state?.includes(each));
    if (mac !== undefined && isSure) known.set(dst, mac);
  }
  return known;
}

/** Has the kernel ask for the MACs of neighbours; the answers come when they come. */
export async function askForNeighbours(
  exec: Exec,
  device: string,
  addresses: readonly string[],
  signal?: AbortSignal,
): Promise<void> {
  const lines = addresses.map((address) => `neigh replace ${address} dev ${device} use`);
  // An old `ip` cannot: then the first packet to a host does it, such as the overlay's own.
  await applyDirect(exec, lines, signal).catch((error: unknown) => {
    if (!(error instanceof ExecError) || error.exitCode === undefined) throw error;
  });
}

/**
 * While one of two hosts reaches the other directly and is answered through the tunnel, as it is until both have tried the path, a strict
 * reverse path filter would drop: it is made loose (RFC 3704), as it is on the tunnel. What comes under an address of
 * the overlay that is not the sender's is dropped by isolation's rules, which look closer.
 */
export async function ensureLooseFilter(
  exec: Exec,
  device: string,
  signal?: AbortSignal,
): Promise<readonly string[]> {
  const key = `net/ipv4/conf/${device}/rp_filter`;
  const { stdout } = await exec('sysctl', ['-n', 'net/ipv4/conf/all/rp_filter', key], {}, signal);
  const values = stdout.trim().split('\n').map(Number);
  // The larger of the two is in force.
  if (Math.max(...values) !== 1) return [];
  return ensureSysctls(exec, { [key]: '2' }, signal);
}
