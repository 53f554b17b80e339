import { createServer, type Server } from 'node:http';
import { readFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { run } from '../support/command.ts';
import {
  box,
  cleansUp,
  conditions,
  containers,
  eventually,
  expectExactly,
  holds,
  hosts,
  idsByInstance,
  instances,
  kubectl,
  plane,
  project,
  removeProjects,
  settles,
  toolsImage,
} from './harness.ts';

/** Runs through everything in this file, undisturbed. */
let bystanders: Record<string, string>;

cleansUp('bystander', 'bad');
beforeAll(async () => {
  await kubectl.apply(project('bystander', { app: { replicas: 3 } }));
  await kubectl.wait('project/bystander');
  bystanders = idsByInstance(await containers('bystander'));
});
afterEach(async () => {
  expect(idsByInstance(await containers('bystander')), 'others are undisturbed').toEqual(
    bystanders,
  );
  await removeProjects('bad');
});

describe('what cannot be right is refused when it is applied', () => {
  const refused = async (object: object, ...words: (string | RegExp)[]): Promise<void> => {
    const { code, stderr } = await kubectl.tryApply(object);
    expect(code, stderr).not.toBe(0);
    for (const word of words) expect(stderr).toMatch(word);
    expect((await kubectl.try(['get', 'project', 'bad'])).code).not.toBe(0);
  };

  test('an unknown field', () =>
    refused(
      project('bad', { app: { imagee: 'x' } }),
      /unknown field "(spec\.services\.app\.)?imagee"/,
    ));

  test('a wrong type', () =>
    refused(project('bad', { app: { replicas: 'three' } }), /replicas/, /integer/));

  test('a bad port', async () => {
    await refused(project('bad', { app: { ports: ['80:http'] } }), /ports/, /8080:80/);
    await refused(project('bad', { app: { ports: ['80:80/icmp'] } }), /ports/);
  });

  test('a link to no service', () =>
    refused(project('bad', { app: { links: ['nobody:db'] } }), /link must name a service/));

  test('a name that is too long', () =>
    refused(project('bad', { [`s${'x'.repeat(59)}`]: {} }), /63 characters/));

  test('a name that cannot be a host name', () =>
    refused(project('bad', { Web_App: {} }), /lower-case letters/));

  test('an unknown field passes where kubectl is told so, and is dropped', async () => {
    await kubectl.apply(project('bad', { app: { imagee: 'x' } }), '--validate=false');
    await kubectl.wait('project/bad');
    const { spec } = await kubectl.get<{ spec: object }>('project/bad');
    expect(JSON.stringify(spec)).not.toContain('imagee');
  });
});

describe('what cannot run says why', () => {
  test('more instances than hosts for one host port', async () => {
    await kubectl.apply(
      project('bad', { one: { replicas: 3, ports: ['7070:80'] }, two: { ports: ['7070:81'] } }),
    );
    const reason = /0\/3 hosts fit: 3 .*7070/;
    await settles('one of them is not scheduled', async () => {
      const [one, two] = await Promise.all([
        conditions('napsvc/bad-one'),
        conditions('napsvc/bad-two'),
      ]);
      const open = [one, two].filter((each) => each['Scheduled']?.status === 'False');
      expect(open).toHaveLength(1);
      expect(open[0]!['Scheduled']).toMatchObject({ reason: 'Unschedulable' });
      expect(open[0]!['Scheduled']!.message).toMatch(reason);
    });
    await settles('the project tells', async () => {
      const { Ready, Scheduled } = await conditions('project/bad');
      expect(Ready!.status).toBe('False');
      expect(Scheduled).toMatchObject({ status: 'False' });
      expect(Scheduled!.message).toMatch(reason);
    });
    await settles('three of four run', async () => {
      expect((await containers('bad')).filter((c) => c.running)).toHaveLength(3);
    });
    await settles('an event, too', async () => {
      expect(await kubectl.run('get', 'events')).toMatch(/Unschedulable.*7070/);
    });
  });

  describe('an image that does not exist', () => {
    /** A registry that has nothing. */
    let registry: Server;
    beforeAll(async () => {
      registry = createServer((request, response) => {
        const found = request.url === '/v2/';
        const errors = [{ code: 'MANIFEST_UNKNOWN', message: 'manifest unknown' }];
        response.writeHead(found ? 200 : 404, { 'content-type': 'application/json' });
        response.end(found ? '{}' : JSON.stringify({ errors }));
      });
      await new Promise<void>((done) => registry.listen(0, box.outside, done));
    });
    afterAll(() => {
      registry.close();
    });

    test('is told in status and events; its neighbours run', async () => {
      const image = `${box.outside}:${(registry.address() as AddressInfo).port}/no/such:1`;
      await kubectl.apply(project('bad', { absent: { image }, present: {} }));
      await kubectl.wait('napsvc/bad-present');
      await settles('the instance says why', async () => {
        const [instance] = await instances('bad-absent');
        expect(instance).toMatchObject({ ready: false, reason: 'ImagePullFailed' });
        expect(instance!.message).toMatch(/no\/such.*(manifest unknown|not found)/);
        const { Ready } = await conditions('napsvc/bad-absent');
        expect(Ready).toMatchObject({ status: 'False', reason: 'ImagePullFailed' });
      });
      await settles('an event, too', async () => {
        const described = await kubectl.run('describe', 'napsvc', 'bad-absent');
        expect(described).toMatch(/Warning +ImagePullFailed/);
      });
      await settles('the project, too', async () => {
        expect(await kubectl.run('get', 'project', 'bad')).toMatch(/bad +False +1\/2 +1\/2/);
      });
      // Setting it right is enough.
      await kubectl.apply(project('bad', { absent: { image: toolsImage }, present: {} }));
      await kubectl.wait('project/bad');
    });
  });

  test('a command that ends at once', async () => {
    await kubectl.apply(
      project('bad', { crash: { command: ['sh', '-c', 'exit 7'] }, calm: { replicas: 2 } }),
    );
    await kubectl.wait('napsvc/bad-calm');
    await settles('the crash loop is told with its code', async () => {
      const [instance] = await instances('bad-crash');
      expect(instance).toMatchObject({ ready: false, reason: 'CrashLoop' });
      expect(instance!.message).toContain('exited with code 7');
      expect(instance!.restarts).toBeGreaterThanOrEqual(2);
      const { Ready } = await conditions('napsvc/bad-crash');
      expect(Ready!.message).toContain('exited with code 7');
    });
    await settles('an event, too', async () => {
      expect(await kubectl.run('describe', 'napsvc', 'bad-crash')).toMatch(/Warning +CrashLoop/);
    });
  });

  test('a label that no host has: placed as soon as one has it', async () => {
    await kubectl.apply(
      project('bad', { app: { placement: { machineMetadata: { region: 'us-east-1' } } } }),
    );
    await settles('the reason', async () => {
      expect((await conditions('napsvc/bad-app'))['Scheduled']).toMatchObject({
        status: 'False',
        message: expect.stringContaining('0/3 hosts fit: 3 lack label region=us-east-1') as unknown,
      });
    });
    await kubectl.run('label', 'host', 'h2', 'region=us-east-1');
    try {
      await kubectl.wait('project/bad', 'Ready', 10);
      expect((await instances('bad-app')).map((i) => i.host)).toEqual(['h2']);
    } finally {
      await removeProjects('bad');
      await kubectl.run('label', 'host', 'h2', 'region-');
    }
  });

  test('a cordoned host gets nothing new and keeps what it has', async () => {
    await kubectl.apply(project('bad', { app: { replicas: 3 } }));
    await kubectl.wait('project/bad');
    const before = idsByInstance(await containers('bad'));
    const cordon = (is: boolean): Promise<string> =>
      kubectl.run(
        ...['patch', 'host', 'h3', '--type=merge'],
        ...['-p', JSON.stringify({ spec: { unschedulable: is } })],
      );
    await cordon(true);
    try {
      await settles('it is shown', async () => {
        expect(await kubectl.run('get', 'host', 'h3')).toMatch(/h3 +Cordoned/);
      });
      await kubectl.run('scale', 'napsvc', 'bad-app', '--replicas=7');
      await kubectl.wait('napsvc/bad-app');
      expect((await instances('bad-app')).filter((i) => i.host === 'h3')).toHaveLength(1);
      expect(idsByInstance(await containers('bad'))).toMatchObject(before);
    } finally {
      await cordon(false);
    }
  });
});

describe('1,000 replicas where 30 fit', () => {
  /** CPU time that a process has used, seconds. */
  async function cpuSeconds(pid: number): Promise<number> {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    const [, , , , , , , , , , , user = '0', system = '0'] = stat
      .slice(stat.lastIndexOf(')') + 1)
      .split(' ');
    const hertz = Number((await run(['getconf', 'CLK_TCK'])).stdout);
    return (Number(user) + Number(system)) / hertz;
  }

  test('30 run, the rest is counted, the operator is calm, and it can be taken back', async () => {
    const { status } = await kubectl.get<{ status: { capacity: { cpu: string } } }>('host/h1');
    const cpus = (Number(status.capacity.cpu) / 10 - 0.001).toFixed(3);
    const app = { resources: { reservations: { cpus } } };
    await kubectl.apply(project('bad', { app: { ...app, replicas: 1000 } }));
    await settles(
      'thirty run',
      async () => {
        const { status: is } = await kubectl.get<{ status: Record<string, unknown> }>(
          'napsvc/bad-app',
        );
        expect(is['readyReplicas']).toBe(30);
      },
      90_000,
    );
    const list = await containers('bad');
    expect(list.filter((c) => c.running)).toHaveLength(30);
    for (const host of hosts) expect(list.filter((c) => c.host === host)).toHaveLength(10);
    const { Scheduled, Ready } = await conditions('napsvc/bad-app');
    expect(Scheduled).toMatchObject({ status: 'False', reason: 'Unschedulable' });
    expect(Scheduled!.message).toMatch(/970.*0\/3 hosts fit: 3 .*(cpu|processor)/i);
    expect(Ready!.message).toContain('30/1000');
    await settles('the project tells', async () => {
      expect(await kubectl.run('get', 'project', 'bad')).toMatch(/bad +False +0\/1 +30\/1000/);
    });
    const size = (await kubectl.run('get', 'napsvc', 'bad-app', '-o', 'json')).length;
    expect(size, 'bytes; etcd takes 1.5 MB').toBeLessThan(500_000);

    const leader = (await (await plane.leader()).pid())!;
    const since = await cpuSeconds(leader);
    const calmMs = 5_000;
    await holds(async () => {
      expect((await containers('bad')).filter((c) => c.running)).toHaveLength(30);
    }, calmMs);
    const used = (await cpuSeconds(leader)) - since;
    expect(used, 'seconds of CPU in 5 s').toBeLessThan(2);

    // Room for others is still found.
    await kubectl.apply(project('bystander', { app: { replicas: 3 } }));
    await kubectl.apply(project('bad', { app: { ...app, replicas: 3 } }));
    await settles('three', () => expectExactly('bad', { app: 3 }), 60_000);
    await kubectl.wait('project/bad');
  });
});

describe('records written into etcd by hand', () => {
  const junk: Readonly<Record<string, string>> = {
    '/nap/v1/placements/h1/default/ghost/web/1': '{"half":',
    '/nap/v1/placements/h1/too/short': '{}',
    '/nap/v1/placements/h9/default/ghost/web/2': '[]',
    '/nap/v1/services/default/ghost/web': '"text"',
    '/nap/v1/services/bystander': '{}',
    '/services/default/bystander/app/77': '[]',
    '/services/default/bystander/app/78': '{"host":"h1","ipv4_addr":"not an address","ports":[]}',
    '/services/rubbish': 'x',
    '/nap/v1/hosts/ghost': 'not JSON',
    '/coreos.com/network/subnets/10.77.0.0-99': '{}',
    '/coreos.com/network/subnets/nonsense': 'x',
    '/coreos.com/network/subnets/10.77.250.0-24':
      '{"PublicIP":"999.1.1.1","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"zz"}}',
  };

  afterAll(async () => {
    for (const key of Object.keys(junk)) await plane.etcdctl('del', key);
    // A record made it; a host that is gone is shown as lost until somebody deletes it.
    await kubectl.run('delete', 'host', 'ghost', '--ignore-not-found');
  });

  test('that make no sense disturb nothing, and are told in the log', async () => {
    for (const [key, value] of Object.entries(junk)) await plane.etcdctl('put', key, value);
    await kubectl.apply(project('bad', { app: { replicas: 3 } }));
    await kubectl.wait('project/bad', 'Ready', 20);
    await expectExactly('bad', { app: 3 });
    for (const host of hosts) await kubectl.wait(`host/${host}`, 'Ready', 5);
    const logs = (
      await Promise.all(
        [...plane.operators.map((o) => o.log), ...hosts.map((h) => box.agentLog(h))].map((log) =>
          readFile(log, 'utf8'),
        ),
      )
    ).join('\n');
    for (const key of [
      '/nap/v1/placements/h1/default/ghost/web/1',
      '/services/default/bystander/app/77',
      '/nap/v1/hosts/ghost',
    ]) {
      expect(logs, 'a line names it').toContain(key);
    }
  });

  test('in place of ours are set right, and the containers go on', async () => {
    await kubectl.apply(project('bad', { app: { replicas: 2 } }));
    await kubectl.wait('project/bad');
    const listed = await instances('bad-app');
    const before = idsByInstance(await containers('bad'));
    const placement = `/nap/v1/placements/${listed[0]!.host!}/default/bad/app/1`;
    const endpoints = ['/services/default/bad/app/1', '/services/default/bad/app/2'] as const;
    await plane.etcdctl('put', placement, '{"spoilt":true}');
    await plane.etcdctl('put', endpoints[0], '{"spoilt":true}');
    await plane.etcdctl('del', endpoints[1]);
    const value = (key: string): Promise<string> => plane.etcdctl('get', key, '--print-value-only');
    await eventually('the operator sets its record right', async () => {
      return (await value(placement)).includes(toolsImage);
    });
    // Agents look through their reports every 30 s.
    for (const [i, endpoint] of endpoints.entries()) {
      await eventually(
        `${endpoint} is set right`,
        async () => (await value(endpoint)).includes(listed[i]!.ip!),
        60_000,
      );
    }
    expect(idsByInstance(await containers('bad'))).toEqual(before);
  });
});
