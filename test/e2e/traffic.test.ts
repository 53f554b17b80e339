import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  clientCommand,
  marker,
  seenIn,
  serverCommand,
  type CallOptions,
  type Seen,
} from '../support/answers.ts';
import type { Container } from '../support/box.ts';
import type { Outcome } from '../support/command.ts';
import {
  box,
  cleansUp,
  conditions,
  containers,
  eventually,
  hosts,
  idsByInstance,
  instances,
  kubectl,
  plane,
  project,
  resolve,
  settles,
  type HostName,
} from './harness.ts';

type Place = Container | HostName;

function runAt(place: Place, command: readonly string[]): Promise<Outcome> {
  return typeof place === 'string' ? box.sh(place, command) : box.inNetworkOf(place, command);
}

/** Where connections from a container or a host go. Rejects with what the client says. */
async function callers(from: Place, to: string, options: CallOptions): Promise<readonly Seen[]> {
  const outcome = await runAt(from, clientCommand(to, options));
  if (outcome.code !== 0) throw new Error(outcome.stderr);
  return seenIn(outcome.stdout);
}

const serversSeen = (seen: readonly Seen[]): string[] =>
  [...new Set(seen.map(({ server }) => server))].sort();

async function virtualIPOf(service: string): Promise<string> {
  const { status } = await kubectl.get<{ status: { virtualIP: string } }>(`napsvc/${service}`);
  expect(status.virtualIP).toMatch(/^10\.78\./);
  return status.virtualIP;
}

describe('traffic', () => {
  cleansUp('traffic', 'traffic-other', 'traffic-late');
  let app: readonly Container[];
  let client: Container;
  let addresses: readonly string[];
  let vip: string;

  beforeAll(async () => {
    const each = { placement: { maxPerHost: 1 } };
    await kubectl.apply([
      project('traffic', {
        app: { ...each, replicas: 3, ports: ['80', '53/udp'], environment: { MODE: 'fast' } },
        sticky: { ...each, replicas: 3, sessionAffinity: 'clientIP' },
        near: { ...each, replicas: 3, trafficPolicy: 'preferLocal' },
        plain: { replicas: 2, endpointMode: 'dns' },
        client: { links: ['app:db'] },
      }),
    ]);
    await kubectl.wait('project/traffic');
    const all = await containers('traffic');
    app = all.filter((c) => c.service === 'app');
    client = all.find((c) => c.service === 'client')!;
    addresses = (await instances('traffic-app')).map(({ ip }) => ip!).sort();
    vip = await virtualIPOf('traffic-app');
    for (const name of ['app', 'sticky', 'near']) {
      const list = await instances(`traffic-${name}`);
      for (const container of all.filter((c) => c.service === name)) {
        const ip = list.find(({ ordinal }) => String(ordinal) === container.ordinal)!.ip!;
        void runAt(container, serverCommand(ip)).catch(() => undefined);
        await eventually('the server answers', () => callers(container, ip, { count: 1 }));
      }
    }
  });

  afterAll(async () => {
    for (const host of hosts) await box.sh(host, ['pkill', '-KILL', '-f', marker]);
  });

  test('a name is the virtual IP; tasks.NAME, and a name with endpointMode dns, the instances', async () => {
    expect(await resolve(client, 'app')).toEqual([vip]);
    expect(await resolve(client, 'app.traffic.default.nap.local')).toEqual([vip]);
    expect(await resolve(client, 'tasks.app')).toEqual(addresses);
    expect(await resolve(client, 'app-1')).toEqual([(await instances('traffic-app'))[0]!.ip]);
    const plain = (await instances('traffic-plain')).map(({ ip }) => ip!).sort();
    expect(await resolve(client, 'plain')).toEqual(plain);
  });

  test('a link stands in /etc/hosts and in variables', async () => {
    expect(await box.exec(client, 'cat', '/etc/hosts')).toMatch(
      new RegExp(`^${vip.replaceAll('.', '\\.')}\\s+db$`, 'm'),
    );
    const variables = (await box.exec(client, 'env')).split('\n');
    for (const line of [
      `DB_PORT=udp://${vip}:53`,
      `DB_PORT_80_TCP_ADDR=${vip}`,
      'DB_NAME=/traffic-client-1/db',
      'DB_ENV_MODE=fast',
    ]) {
      expect(variables).toContain(line);
    }
  });

  test.each(['tcp', 'udp'] as const)(
    'it leads to all instances by %s, from everywhere',
    async (protocol) => {
      for (const from of [client, ...app, ...hosts]) {
        const seen = await callers(from, vip, { count: 40, protocol });
        expect(serversSeen(seen)).toEqual(addresses);
        if (typeof from === 'string') continue;
        // Whoever is called sees who calls; itself, an instance sees as its host.
        const own = (await box.exec(from, 'hostname', '-i')).trim();
        for (const { server, client: whom } of seen) {
          if (server === own) expect(whom).not.toBe(own);
          else expect(whom).toBe(own);
        }
      }
    },
  );

  test('each client has its instance with sessionAffinity', async () => {
    const sticky = await virtualIPOf('traffic-sticky');
    for (const from of [client, ...app]) {
      expect(serversSeen(await callers(from, sticky, { count: 20 }))).toHaveLength(1);
    }
  });

  test('each host has its own with preferLocal', async () => {
    const near = await virtualIPOf('traffic-near');
    const list = await instances('traffic-near');
    for (const from of app) {
      const own = list.find(({ host }) => host === from.host)!.ip;
      expect(serversSeen(await callers(from, near, { count: 20 }))).toEqual([own]);
    }
  });

  test('open connections survive what happens elsewhere, and an operator’s restart changes nothing', async () => {
    const before = idsByInstance(await containers('traffic', { service: 'app' }));
    const open = callers(client, vip, { count: 1, echoes: 100, pauseMs: 100 });
    const leader = await plane.leader();
    await leader.restart();
    await plane.leader();
    // One waits for the other, which is not there yet.
    const link = { links: ['traffic-other/extra:far'] };
    await kubectl.apply([project('traffic-late', { user: link })]);
    await settles('the reason is shown', async () => {
      expect((await conditions('napsvc/traffic-late-user'))['Scheduled']?.reason).toBe(
        'LinkMissing',
      );
    });
    await kubectl.apply([project('traffic-other', { extra: { replicas: 2 } })]);
    await kubectl.wait('project/traffic-late');
    const far = await virtualIPOf('traffic-other-extra');
    expect(far).not.toBe(vip);
    const [user] = await containers('traffic-late');
    expect(await resolve(user!, 'far')).toEqual([far]);
    expect(await box.exec(user!, 'cat', '/etc/hosts')).toContain(far);
    expect(await open).toHaveLength(1);
    expect(await virtualIPOf('traffic-app')).toBe(vip);
    expect(idsByInstance(await containers('traffic', { service: 'app' }))).toEqual(before);
  });

  test('it follows the instances that there are, and refuses at once when there is none', async () => {
    await kubectl.run('scale', 'napsvc', 'traffic-app', '--replicas=1');
    const left = (await instances('traffic-app'))[0]!.ip!;
    await settles('one is left', async () => {
      for (const from of [client, ...hosts]) {
        expect(serversSeen(await callers(from, vip, { count: 20 }))).toEqual([left]);
      }
    });
    await kubectl.run('scale', 'napsvc', 'traffic-app', '--replicas=0');
    for (const from of [client, ...hosts]) {
      await eventually('a refusal', () =>
        callers(from, vip, { count: 1 }).then(
          () => false,
          (error: unknown) => String(error).includes('ECONNREFUSED'),
        ),
      );
    }
    expect(await resolve(client, 'app')).toEqual([vip]);
  });
});
