import type { Address } from './model.ts';

/** A server as HAProxy has it (`show servers state`). */
export interface ServerState {
  readonly backend: string;
  readonly name: string;
  readonly ip: string;
  readonly port: number;
  /** It is sent requests. */
  readonly on: boolean;
}

/** Reads what HAProxy says to `show servers state`. Columns go by their names, which stand in the second line. */
export function parseServers(text: string): ServerState[] {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  const header = lines.find((line) => line.startsWith('# '));
  if (header === undefined) return [];
  const columns = header.slice(2).trim().split(/\s+/);
  const column = (name: string): number => columns.indexOf(name);
  const [backend, name, ip, port, state] = [
    column('be_name'),
    column('srv_name'),
    column('srv_addr'),
    column('srv_port'),
    column('srv_op_state'),
  ] as const;
  if ([backend, name, ip, port, state].includes(-1)) return [];
  return lines.slice(lines.indexOf(header) + 1).map((line) => {
    const words = line.trim().split(/\s+/);
    const word = (index: number): string => words[index] ?? '';
    return {
      backend: word(backend),
      name: word(name),
      ip: word(ip),
      port: Number(word(port)),
      on: word(state) !== '0',
    };
  });
}

/** What to tell HAProxy, and whether there are too few servers for all addresses. */
export interface ServerPlan {
  readonly commands: readonly string[];
  /** Addresses that found no server. */
  readonly short: number;
}

/**
 * Commands that make one backend's servers those of `wanted`. Pure, and level-triggered: it does not matter who changed
 * them last. New addresses come before old ones go. A server that is taken out finishes its requests; it gets another address
 * only when no other server is free, and connections that it has stay with the old one.
 */
export function planServers(
  wanted: readonly Address[],
  servers: readonly ServerState[],
): ServerPlan {
  const missing = new Map(wanted.map((address) => [keyOf(address), address]));
  const free: ServerState[] = [];
  const gone: string[] = [];
  for (const server of servers) {
    const key = keyOf(server);
    if (server.on && missing.delete(key)) continue;
    if (server.on) gone.push(`set server ${idOf(server)} state maint`);
    else free.push(server);
  }
  // One that had the address before is first to have it again; then those that never had one.
  const commands: string[] = [];
  for (const [key, { ip, port }] of missing) {
    const at = free.findIndex((server) => keyOf(server) === key);
    const unused = at >= 0 ? at : free.findIndex(isUnused);
    const [server] = free.splice(unused >= 0 ? unused : 0, 1);
    if (server === undefined) break;
    missing.delete(key);
    commands.push(
      `set server ${idOf(server)} addr ${ip} port ${String(port)}`,
      `set server ${idOf(server)} state ready`,
    );
  }
  return { commands: [...commands, ...gone], short: missing.size };
}

/** Where a server points that has no address. */
export const nowhere: Address = { ip: '127.0.0.1', port: 1 };

function isUnused(server: ServerState): boolean {
  return server.ip === nowhere.ip && server.port === nowhere.port;
}

function keyOf({ ip, port }: Address): string {
  return `${ip}:${String(port)}`;
}

function idOf({ backend, name }: ServerState): string {
  return `${backend}/${name}`;
}

/** A worker process of HAProxy (`show proc`). */
export interface Worker {
  readonly pid: number;
  /** It takes new connections; the others end with their last one. */
  readonly current: boolean;
}

/** Reads what HAProxy's master says to `show proc`. */
export function parseWorkers(text: string): Worker[] {
  const workers: Worker[] = [];
  let current = true;
  for (const line of text.split('\n')) {
    if (line.startsWith('# old workers')) current = false;
    const [pid, type] = line.trim().split(/\s+/);
    if (type === 'worker' && /^\d+$/.test(pid ?? '')) workers.push({ pid: Number(pid), current });
  }
  return workers;
}
