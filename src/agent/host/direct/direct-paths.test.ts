import { describe, expect, it } from 'vitest';
import { VirtualClock } from '../../../../test/support/virtual-clock.ts';
import { parseCidr } from '../../../network/address/cidr.ts';
import { silentLogger } from '../../../telemetry/log.ts';
import { DirectPaths } from './direct-paths.ts';
import { ExecError } from '../exec.ts';

const segment = '02:aa:00:00:00:02';

/** A host with one other one at 10.99.0.2, in a network that behaves as `net` says. */
function onHost() {
  const net = {
    gateway: false,
    mac: segment as string | undefined,
    direct: true,
    alive: true,
    hasPing: true,
    left: [] as { dst: string; gateway: string }[],
  };
  const clock = new VirtualClock();
  const problems = new Map<string, string>();
  const commands: string[] = [];
  let [changes, pings] = [0, 0];
  const answer = (stdout: unknown) =>
    Promise.resolve({ stdout: JSON.stringify(stdout), stderr: '' });
  const paths = new DirectPaths({
    exec: (command, args, options = {}) => {
      const line = [command, ...args].join(' ');
      if (command === 'ping') {
        pings++;
        if (!net.hasPing) return Promise.reject(new ExecError(line, { notFound: true }));
        const passes = net.alive && (line.includes('-m') ? net.direct : true);
        return passes ? answer([]) : Promise.reject(new ExecError(line, { exitCode: 1 }));
      }
      if (options.input?.startsWith('route get') === true) {
        const way = { dst: '10.99.0.2', dev: 'eth0', ...(net.gateway && { gateway: '10.99.0.1' }) };
        return answer([way]);
      }
      if (options.input !== undefined) {
        commands.push(...options.input.trim().split('\n'));
        return answer([]);
      }
      if (line.includes('neigh show'))
        return answer([
          { dst: '10.99.0.2', state: ['STALE'], ...(net.mac && { lladdr: net.mac }) },
        ]);
      if (line.includes('rule show')) return answer([]);
      expect(line).toContain('route show table');
      return answer(line.endsWith('1778') ? net.left : []);
    },
    network: parseCidr('10.77.0.0/16'),
    source: '10.77.1.0',
    device: 'eth0',
    clock,
    log: silentLogger,
    onChange: () => {
      changes++;
    },
    onProblem: (key, message) => {
      if (message === undefined) problems.delete(key);
      else problems.set(key, message);
    },
  });
  const tables = (address = '10.99.0.2', vtep = '02:00:00:00:00:02') => ({
    routes: new Map([['10.77.2.0/24', '10.77.2.0']]),
    neighbours: new Map([['10.77.2.0', vtep]]),
    forwarding: new Map([[vtep, address]]),
  });
  /** Commands that an `ensure` has given. */
  const ensure = async (audit = false, ...of: Parameters<typeof tables>): Promise<string> => {
    commands.length = 0;
    await paths.ensure(tables(...of), audit);
    return commands.join('\n');
  };
  return { net, clock, problems, paths, ensure, changes: () => changes, pings: () => pings };
}

const direct = 'route replace 10.77.2.0/24 table 1778 via 10.99.0.2 dev eth0 proto 178';
const probed = 'route replace 10.77.2.0/24 table 1779 via 10.99.0.2 dev eth0 proto 178';
const undone = 'route del 10.77.2.0/24 table 1778';

describe('DirectPaths', () => {
  it('tries a path before it is used', async () => {
    const { paths, ensure, changes } = onHost();
    const first = await ensure();
    expect(first).toContain(probed);
    expect(first).not.toContain(direct);
    await paths.step();
    expect(changes()).toBe(1);
    expect(await ensure()).toBe(direct);
    expect(paths.segment).toEqual(new Map([['10.77.2.0', segment]]));
  });

  it('needs no try where an earlier agent has left the route', async () => {
    const { net, ensure } = onHost();
    net.left = [{ dst: '10.77.2.0/24', gateway: '10.99.0.2' }];
    expect(await ensure()).not.toContain('table 1778');
  });

  it('leaves to the tunnel whom a gateway leads to, and who has no MAC', async () => {
    for (const change of [{ gateway: true }, { mac: undefined }, { mac: '00:00:00:00:00:00' }]) {
      const { net, paths, ensure, changes } = onHost();
      Object.assign(net, change);
      expect(await ensure()).not.toContain('route replace');
      await paths.step();
      expect(changes()).toBe(0);
    }
  });

  it('gives a path up when it carries nothing several times in a row, says so, and takes it back', async () => {
    const { net, clock, problems, paths, ensure } = onHost();
    await ensure();
    await paths.step();
    await ensure();
    net.direct = false;
    await clock.advance(30_000);
    await paths.step();
    await paths.step();
    expect(await ensure()).toBe('');
    await paths.step();
    expect(await ensure()).toBe(undone);
    expect([...problems.keys()]).toEqual(['direct path 10.77.2.0/24']);
    expect([...problems.values()][0]).toMatch(/host 10\.99\.0\.2 is on this host's segment, but/);
    net.direct = true;
    await clock.advance(30_000);
    await paths.step();
    expect(await ensure()).toBe(direct);
    expect(problems.size).toBe(0);
  });

  it('says nothing of a host that is away', async () => {
    const { net, clock, problems, paths, ensure } = onHost();
    net.alive = false;
    await ensure();
    for (let i = 0; i < 5; i++) {
      await paths.step();
      await clock.advance(30_000);
    }
    expect(problems.size).toBe(0);
  });

  it('says so once where there is no ping, and does not end for that', async () => {
    const { net, clock, problems, paths, ensure, pings } = onHost();
    net.hasPing = false;
    await ensure();
    const controller = new AbortController();
    let hasEnded = false;
    const running = paths.run(controller.signal).then(() => {
      hasEnded = true;
    });
    await clock.advance(60_000);
    expect([...problems.keys()]).toEqual(['direct routing']);
    expect([pings(), hasEnded]).toEqual([1, false]);
    controller.abort();
    await running;
  });

  it('heeds a gateway that an audit finds, and still knows the MAC', async () => {
    const { net, paths, ensure } = onHost();
    await ensure();
    await paths.step();
    await ensure();
    net.gateway = true;
    expect(await ensure()).toBe('');
    net.left = [{ dst: '10.77.2.0/24', gateway: '10.99.0.2' }];
    expect(await ensure(true)).toContain(undone);
    expect(paths.segment.get('10.77.2.0')).toBe(segment);
  });

  it('forgets what it knew of a path when the host moves, and its MAC when another has the subnet', async () => {
    const { net, paths, ensure } = onHost();
    await ensure();
    await paths.step();
    await ensure();
    net.gateway = true;
    expect(await ensure(false, '10.98.0.2')).toContain(undone);
    expect(paths.segment.size).toBe(1);
    await ensure(false, '10.98.0.3', '02:00:00:00:00:09');
    expect(paths.segment.size).toBe(0);
  });

  it('sends nothing directly once it is turned off, and tries anew when it is turned on', async () => {
    const { paths, ensure, changes } = onHost();
    await ensure();
    await paths.step();
    await ensure();
    paths.turn(false);
    expect(changes()).toBe(2);
    expect(await ensure()).toContain(undone);
    expect(paths.segment.size).toBe(1);
    paths.turn(true);
    expect(await ensure()).toBe(probed);
  });

  it('hears of what concerns it from the kernel', async () => {
    const { paths, ensure } = onHost();
    await ensure();
    for (const [line, expected] of [
      ['Deleted 10.77.2.0/24 via 10.99.0.2 dev eth0 table 1778 proto 178 ', true],
      ['Deleted 17781:\tfrom 10.77.0.0/16 to 10.77.0.0/16 lookup 1778 proto 178', true],
      ['Deleted 10.77.2.0/24 via 10.99.0.2 dev eth0 table 17780', false],
      ['10.77.2.0/24 via 10.99.0.2 dev eth0 table 1778 proto 178 ', false],
      ['2: eth0    inet 10.8.0.1/24 scope global eth0\\       valid_lft forever', true],
      ['Deleted 2: eth0    inet 10.8.0.1/24 scope global eth0\\       valid_lft forever', true],
      ['2: eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP', true],
      ['2: eth0@if7: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP', true],
      ['2: eth0: <BROADCAST,MULTICAST> mtu 1500 qdisc noop state DOWN', false],
      ['4: eth01: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP', false],
      ['3: eth1    inet 10.8.0.1/24 scope global eth1', false],
      ['10.99.0.2 dev eth0 lladdr 02:aa:00:00:00:07 REACHABLE ', true],
      [`10.99.0.2 dev eth0 lladdr ${segment} REACHABLE `, false],
      ['10.99.0.2 dev eth1 lladdr 02:aa:00:00:00:07 REACHABLE ', false],
      ['10.99.0.3 dev eth0 lladdr 02:aa:00:00:00:07 REACHABLE ', false],
      ['10.99.0.2 dev eth0 FAILED ', false],
    ] as const) {
      expect({ line, hint: paths.concerns(line) }).toEqual({ line, hint: expected });
    }
  });
});
