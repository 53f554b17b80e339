import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nowhere, parseServers, parseWorkers, planServers, type ServerState } from './servers.ts';
import { slotsFor } from './slots.ts';

const state = `1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_port srvrecord
3 b-1 1 s1 10.1.0.2 2 0 1 8080 -
3 b-1 2 s2 127.0.0.1 0 5 1 1 -
`;

describe('what HAProxy says', () => {
  it('of its servers', () => {
    expect(parseServers(state)).toEqual([
      { backend: 'b-1', name: 's1', ip: '10.1.0.2', port: 8080, on: true },
      { backend: 'b-1', name: 's2', ip: '127.0.0.1', port: 1, on: false },
    ]);
    expect(parseServers("Can't find backend.\n")).toEqual([]);
  });

  it('of its processes', () => {
    const text =
      '#<PID> <type> <reloads>\n15 master 1 [failed: 0]\n# workers\n17 worker 0 0d\n# old workers\n16 worker 1 0d\n# programs\n';
    expect(parseWorkers(text)).toEqual([
      { pid: 17, current: true },
      { pid: 16, current: false },
    ]);
  });
});

/** What HAProxy makes of the commands. */
function applied(servers: readonly ServerState[], commands: readonly string[]): ServerState[] {
  const byName = new Map(servers.map((server) => [server.name, { ...server }]));
  for (const command of commands) {
    const [, , id = '', verb, value = '', , port] = command.split(' ');
    const server = byName.get(id.split('/')[1] ?? '');
    if (server === undefined) throw new Error(command);
    if (verb === 'addr') Object.assign(server, { ip: value, port: Number(port) });
    else server.on = value === 'ready';
  }
  return [...byName.values()];
}

describe('servers of a backend', () => {
  const address = fc.record({
    ip: fc.integer({ min: 1, max: 9 }).map((n) => `10.0.0.${String(n)}`),
    port: fc.constantFrom(80, 81),
  });
  const addresses = fc.uniqueArray(address, { selector: (a) => `${a.ip}:${String(a.port)}` });

  it('become those that are wanted, as far as there are servers, whatever they were', () => {
    fc.assert(
      fc.property(
        addresses,
        fc.array(fc.tuple(fc.oneof(address, fc.constant(nowhere)), fc.boolean()), {
          maxLength: 12,
        }),
        (wanted, present) => {
          const servers = present.map(([at, on], i) => ({
            backend: 'b',
            name: `s${String(i)}`,
            ...at,
            on,
          }));
          const first = planServers(wanted, servers);
          const after = applied(servers, first.commands);
          const second = planServers(wanted, after);
          const end = applied(after, second.commands);
          const key = (a: { ip: string; port: number }) => `${a.ip}:${String(a.port)}`;
          const on = end.filter((server) => server.on).map(key);
          expect(new Set(on).size).toBe(on.length);
          for (const each of on) expect(wanted.map(key)).toContain(each);
          expect(on.length).toBe(Math.min(wanted.length, servers.length));
          // Once they are right there is nothing to do.
          expect(planServers(wanted, end).commands).toEqual([]);
        },
      ),
    );
  });

  it('come before old ones go; one that was used is not given away while there is an unused one', () => {
    const servers: ServerState[] = [
      { backend: 'b', name: 's1', ip: '10.0.0.1', port: 80, on: true },
      { backend: 'b', name: 's2', ip: '10.0.0.2', port: 80, on: false },
      { backend: 'b', name: 's3', ...nowhere, on: false },
    ];
    expect(planServers([{ ip: '10.0.0.3', port: 80 }], servers)).toEqual({
      commands: [
        'set server b/s3 addr 10.0.0.3 port 80',
        'set server b/s3 state ready',
        'set server b/s1 state maint',
      ],
      short: 0,
    });
    expect(planServers([{ ip: '10.0.0.2', port: 80 }], servers).commands[0]).toContain('b/s2');
  });

  it('are more than needed, and their number stays when the instances are fewer for a while', () => {
    expect([0, 1, 3, 4, 6, 100].map((n) => slotsFor(n, undefined))).toEqual([4, 4, 4, 8, 8, 128]);
    const grown = slotsFor(6, undefined);
    expect(slotsFor(2, grown)).toBe(grown);
    expect(slotsFor(6, grown)).toBe(grown);
    expect(slotsFor(9, grown)).toBe(16);
    expect(slotsFor(1, 128)).toBe(4);
  });
});
