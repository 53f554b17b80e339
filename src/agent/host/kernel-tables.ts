import { z } from 'zod';
import { normalizeMac, type OverlayTables, type TableOp } from '../../network/overlay/vxlan.ts';
import { ExecError, type Exec } from './exec.ts';
import { parseTool } from './tool-output.ts';

/** Marks routes of virtual IPs, which are no matter of these tables. A number that nobody else has. */
const virtualProtocol = '178';

const routeList = z.array(
  z.looseObject({
    dst: z.string(),
    gateway: z.string().optional(),
    protocol: z.string().optional(),
  }),
);
const neighbourList = z.array(
  z.looseObject({
    dst: z.string(),
    lladdr: z.string().optional(),
    state: z.array(z.string()).optional(),
  }),
);
const forwardingList = z.array(
  z.looseObject({ mac: z.string(), dst: z.string().optional(), state: z.string().optional() }),
);

/** IPv4, or IPv6 beside it. */
export type Families = readonly ('-4' | '-6')[];

/** Routes of IPv6 that the kernel has by itself wherever the protocol is: link-local ones, and those of addresses. */
const kernelProtocol = 'kernel';

/** Reads what the kernel holds for `device`: static entries only, of `families` only. */
export async function readTables(
  exec: Exec,
  device: string,
  families: Families,
  signal?: AbortSignal,
): Promise<OverlayTables> {
  const show = (object: 'route' | 'neigh') =>
    Promise.all(
      families.map((family) =>
        exec('ip', [family, '-j', object, 'show', 'dev', device], {}, signal),
      ),
    );
  const [routes, neighbours, forwarding] = await Promise.all([
    show('route'),
    show('neigh'),
    exec('bridge', ['-j', 'fdb', 'show', 'dev', device], {}, signal),
  ]);
  const tables = {
    routes: new Map<string, string>(),
    neighbours: new Map<string, string>(),
    forwarding: new Map<string, string>(),
  };
  for (const route of routes.flatMap(({ stdout }) => parseTool(routeList, stdout, 'ip route'))) {
    if (route.protocol === virtualProtocol) continue;
    const isIpv6 = route.dst.includes(':');
    if (isIpv6 && route.protocol === kernelProtocol) continue;
    const destination = route.dst.includes('/')
      ? route.dst
      : `${route.dst}/${isIpv6 ? '128' : '32'}`;
    tables.routes.set(destination, route.gateway ?? '');
  }
  for (const neighbour of neighbours.flatMap(({ stdout }) =>
    parseTool(neighbourList, stdout, 'ip neigh'),
  )) {
    // What the kernel learnt by itself (a resolved or failed look-up) is overwritten by a static entry anyway.
    if (neighbour.state?.includes('PERMANENT') !== true) continue;
    tables.neighbours.set(neighbour.dst, neighbour.lladdr ?? '');
  }
  for (const entry of parseTool(forwardingList, forwarding.stdout, 'bridge fdb')) {
    const mac = normalizeMac(entry.mac);
    if (mac === undefined || entry.dst === undefined || entry.state !== 'permanent') continue;
    tables.forwarding.set(mac, entry.dst);
  }
  return tables;
}

/**
 * Routes virtual IPs to `device`: a host with no other route would not even try to send to them, and their packets are turned
 * to endpoints on the way. Returns what was changed.
 * @param source address that the host itself speaks to them with
 */
export async function ensureVirtualRoutes(
  exec: Exec,
  device: string,
  ranges: readonly string[],
  source: string,
  signal?: AbortSignal,
): Promise<readonly string[]> {
  const all = ['-4', '-j', 'route', 'show', 'dev', device, 'proto', virtualProtocol];
  const { stdout } = await exec('ip', all, {}, signal);
  const present = parseTool(routeList, stdout, 'ip route').map(({ dst }) => dst);
  const lines = [
    ...ranges
      .filter((range) => !present.includes(range))
      .map((range) => `replace ${range} src ${source} scope link`),
    ...present.filter((range) => !ranges.includes(range)).map((range) => `del ${range}`),
  ];
  for (const line of lines) {
    const route = ['route', ...line.split(' '), 'dev', device, 'proto', virtualProtocol];
    await exec('ip', route, {}, signal);
  }
  return lines.map((line) => `route of virtual IPs: ${line}`);
}

/**
 * Applies `ops` in order with at most one call of each tool per run of operations of its kind. Goes on after a failing
 * one and throws ExecError at the end, so the caller reads the tables again.
 */
export async function applyTables(
  exec: Exec,
  device: string,
  ops: readonly TableOp[],
  signal?: AbortSignal,
): Promise<void> {
  let failure: unknown;
  for (const run of runs(ops)) {
    try {
      await exec(
        run.tool,
        ['-force', '-batch', '-'],
        { input: run.ops.map((op) => line(op, device)).join('\n') + '\n', timeoutMs: 30_000 },
        signal,
      );
    } catch (error) {
      if (!(error instanceof ExecError)) throw error;
      failure ??= error;
    }
  }
  if (failure !== undefined) throw failure as ExecError;
}

interface Run {
  readonly tool: 'ip' | 'bridge';
  readonly ops: TableOp[];
}

/** Groups operations by tool. The order of groups is kept, for `diffTables` gives one that is safe. */
function runs(ops: readonly TableOp[]): readonly Run[] {
  const result: Run[] = [];
  for (const op of ops) {
    const tool = op.type === 'set-forwarding' || op.type === 'delete-forwarding' ? 'bridge' : 'ip';
    const last = result.at(-1);
    if (last?.tool === tool) last.ops.push(op);
    else result.push({ tool, ops: [op] });
  }
  return result;
}

function line(op: TableOp, device: string): string {
  switch (op.type) {
    case 'set-neighbour':
      return `neigh replace ${op.ip} lladdr ${op.mac} dev ${device} nud permanent`;
    case 'set-forwarding':
      return `fdb replace ${op.mac} dev ${device} dst ${op.address} self permanent`;
    case 'set-route':
      return `route replace ${op.destination} via ${op.via} dev ${device} onlink`;
    case 'delete-route':
      return `route del ${op.destination} dev ${device}`;
    case 'delete-neighbour':
      return `neigh del ${op.ip} dev ${device}`;
    case 'delete-forwarding':
      return `fdb del ${op.mac} dev ${device} dst ${op.address} self`;
  }
}
