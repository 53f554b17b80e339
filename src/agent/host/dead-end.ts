import { z } from 'zod';
import { formatCidr, type Cidr } from '../../network/cidr.ts';
import type { Exec } from './exec.ts';
import { parseTool } from './tool-output.ts';

/** Marks the route as nap's. A number that nobody else has. */
const protocol = '179';

const routeList = z.array(
  z.looseObject({ type: z.string().optional(), protocol: z.string().optional() }),
);

/**
 * Has packets for the overlay end on this host for which there is no way in the overlay: its host is refused, or the tunnel is just gone.
 * They would take the default route, and show in the clear what is to be encrypted. All routes of the overlay are narrower, so
 * they go before. Returns what was changed. Throws ExecError.
 */
export async function ensureDeadEnd(
  exec: Exec,
  network: Cidr,
  signal?: AbortSignal,
): Promise<readonly string[]> {
  const text = formatCidr(network);
  if ((await routesTo(exec, text, signal)).some(isDeadEnd)) return [];
  await exec('ip', ['route', 'replace', 'unreachable', text, 'proto', protocol], {}, signal);
  return [`what has no way in the overlay ${text} made to go nowhere`];
}

/** Takes it back, for an overlay that is not encrypted. Throws ExecError. */
export async function removeDeadEnd(
  exec: Exec,
  network: Cidr,
  signal?: AbortSignal,
): Promise<void> {
  const text = formatCidr(network);
  if (!(await routesTo(exec, text, signal)).some(isDeadEnd)) return;
  await exec('ip', ['route', 'del', 'unreachable', text, 'proto', protocol], {}, signal);
}

type Route = z.infer<typeof routeList>[number];

function isDeadEnd(route: Route): boolean {
  return route.type === 'unreachable' && route.protocol === protocol;
}

async function routesTo(
  exec: Exec,
  network: string,
  signal?: AbortSignal,
): Promise<readonly Route[]> {
  const { stdout } = await exec('ip', ['-4', '-j', 'route', 'show', 'exact', network], {}, signal);
  return parseTool(routeList, stdout, 'ip route');
}
