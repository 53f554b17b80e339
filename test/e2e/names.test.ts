import { createSocket } from 'node:dgram';
import { createServer, type AddressInfo } from 'node:net';
import { execPath } from 'node:process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { decode, encode, type Answer } from 'dns-packet';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Container } from '../support/box.ts';
import {
  box,
  cleansUp,
  containerOf,
  containers,
  dig,
  eventually,
  hosts,
  idsByInstance,
  instances,
  kubectl,
  plane,
  project,
  resolve,
  settles,
} from './harness.ts';
import { directory } from './place.ts';

/** A web server that says on which instance it runs. */
const says = {
  command: [
    ...['sh', '-c'],
    'mkdir /tmp/www; hostname > /tmp/www/index.html; exec httpd -f -p 80 -h /tmp/www',
  ],
  ports: ['80'],
};

async function addresses(service: string, namespace?: string): Promise<string[]> {
  const list = await instances(service, namespace);
  return list.map((instance) => instance.ip!).sort();
}

function spawned(
  from: Container,
  script: string,
  ...args: string[]
): ReturnType<typeof box.inNetworkOf> {
  return box.inNetworkOf(from, [execPath, '-e', script, ...args]);
}

/** The name server that containers on a host ask in the end. */
async function gateway(host: string): Promise<string> {
  const { status } = await kubectl.get<{ status: { subnet: string } }>(`host/${host}`);
  return status.subnet.replace(/0\/24$/, '1');
}

describe('names', () => {
  cleansUp('shop', 'shop-web', 'elsewhere/shop');
  let web: Container[];

  beforeAll(async () => {
    await kubectl.apply([
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'elsewhere' } },
      project('shop', {
        web: { ...says, replicas: 3, links: ['db:database'] },
        db: { ...says, replicas: 2 },
      }),
      project('shop', { web: {}, db: says }, 'elsewhere', { network: { isolation: 'open' } }),
      // Its instances have names that a careless reading gives to shop's service "web-db".
      project('shop-web', { db: says }),
    ]);
    await Promise.all([
      kubectl.wait('project/shop'),
      kubectl.wait('project/shop-web'),
      kubectl.wait('project/shop', 'Ready', 60, 'elsewhere'),
    ]);
    web = await containers('shop', { service: 'web' });
    expect(web.map((c) => c.host).sort()).toEqual([...hosts]);
    // Ready means that the instances serve; that all hosts have heard of the last one may take a moment longer.
    for (const from of web) {
      await settles(`${from.host} knows all`, async () => {
        expect(await resolve(from, 'tasks.web')).toEqual(await addresses('shop-web'));
        expect(await resolve(from, 'tasks.db')).toEqual(await addresses('shop-db'));
      });
    }
  });

  test('a service name gives all its ready addresses on every host, over UDP and TCP', async () => {
    const db = await addresses('shop-db');
    expect(new Set(db).size).toBe(2);
    for (const from of web) {
      expect(await resolve(from, 'tasks.db')).toEqual(db);
      expect(await resolve(from, 'tasks.db', '+tcp')).toEqual(db);
      expect(await resolve(from, 'Tasks.DB')).toEqual(db);
      expect(await resolve(from, 'tasks.web')).toEqual(await addresses('shop-web'));
    }
  });

  test('what resolves can be reached from another host, by an unaided program in the container', async () => {
    for (const { name, host } of await instances('shop-db')) {
      const from = web.find((c) => c.host !== host)!;
      expect(await box.exec(from, 'curl', '-sSm5', `http://${name}/`)).toBe(`${name}\n`);
      expect(await box.exec(from, 'curl', '-sSm5', 'http://db/')).toMatch(/^shop-db-[12]\n$/);
    }
  });

  test('aliases, names of instances and full names', async () => {
    const [from] = web;
    const db = await addresses('shop-db');
    const [, second] = await instances('shop-db');
    expect(await resolve(from!, 'tasks.database')).toEqual(db);
    for (const name of ['db-2', 'db.2', 'shop-db-2', 'database-2']) {
      expect(await resolve(from!, name), name).toEqual([second!.ip]);
    }
    expect(await resolve(from!, 'tasks.db.shop.default.nap.local')).toEqual(db);
    expect(await resolve(from!, '2.db.shop.default.nap.local')).toEqual([second!.ip]);
    // An alias is its service's own: others do not know it.
    const other = (await containers('shop', { service: 'db' }))[0]!;
    expect((await dig(other, 'database')).stdout).toContain('status: NXDOMAIN');
    expect((await dig(from!, 'no-such-service')).stdout).toContain('status: NXDOMAIN');
    // A name without an address of the type asked exists all the same.
    expect((await dig(from!, 'db', 'AAAA')).stdout).toContain('status: NOERROR');
  });

  test('SRV and PTR answers', async () => {
    const [first] = await instances('shop-db');
    expect(await resolve(web[0]!, '_80._tcp.db', 'SRV')).toEqual([
      '0 0 80 1.db.shop.default.nap.local.',
      '0 0 80 2.db.shop.default.nap.local.',
    ]);
    // Docker answers itself for containers of the asker's own host.
    const from = web.find((c) => c.host !== first!.host)!;
    const answer = await dig(from, '+short', '-x', first!.ip!);
    expect(answer.stdout).toContain('1.db.shop.default.nap.local.');
  });

  test('the same name means one thing in each project and namespace', async () => {
    const [there] = await containers('shop', { service: 'web', namespace: 'elsewhere' });
    const other = await addresses('shop-db', 'elsewhere');
    await settles('it is known there', async () => {
      expect(await resolve(there!, 'tasks.db')).toEqual(other);
    });
    expect(other).not.toEqual(await addresses('shop-db'));
    const third = await containerOf('shop-web', 'db');
    await settles('it knows itself', async () => {
      expect(await resolve(third, 'tasks.db')).toEqual(await addresses('shop-web-db'));
    });
    // Full names lead to whom one may speak to.
    expect((await dig(there!, 'tasks.db.shop.default.nap.local')).stdout).toContain(
      'status: NXDOMAIN',
    );
    expect(await resolve(web[0]!, 'tasks.db.shop.elsewhere.nap.local')).toEqual(other);
  });

  test('an instance that does not serve leaves the answers, and comes back', async () => {
    const [first, second] = await instances('shop-db');
    const paused = await containerOf('shop', 'db', first!.ordinal, [first!.host as 'h1']);
    await box.docker(paused.host, 'pause', paused.id);
    try {
      for (const from of web) {
        await settles(`${from.host} forgets it`, async () => {
          expect(await resolve(from, 'tasks.db')).toEqual([second!.ip]);
        });
      }
    } finally {
      await box.docker(paused.host, 'unpause', paused.id);
    }
    for (const from of web) {
      await settles(`${from.host} knows it again`, async () => {
        expect(await resolve(from, 'tasks.db')).toEqual([first!.ip, second!.ip].sort());
      });
    }
  });

  test('new instances resolve, removed ones do not', async () => {
    await kubectl.run('scale', 'napsvc', 'shop-db', '--replicas=3');
    await kubectl.wait('napsvc/shop-db');
    const three = await addresses('shop-db');
    expect(three).toHaveLength(3);
    for (const from of web) {
      await settles('three', async () => {
        expect(await resolve(from, 'tasks.db')).toEqual(three);
      });
    }
    await kubectl.run('scale', 'napsvc', 'shop-db', '--replicas=1');
    const [first] = await instances('shop-db');
    for (const from of web) {
      await settles('one', async () => {
        expect(await resolve(from, 'tasks.db')).toEqual([first!.ip]);
      });
    }
    await kubectl.wait('napsvc/shop-db');
  });

  test('a changed record is known on all hosts soon', async () => {
    const tookMs: number[] = [];
    const rounds = 10;
    for (let round = 1; round <= rounds; round++) {
      const address = `10.77.255.${round}`;
      const record = { host: 'nowhere', ipv4_addr: address, port: 80, ports: [] };
      await plane.etcdctl('put', '/services/default/shop/db/99', JSON.stringify(record));
      const since = performance.now();
      await Promise.all(
        web.map((from) =>
          eventually(
            `${from.host} resolves it`,
            async () => (await resolve(from, 'db-99')).includes(address),
            10_000,
          ),
        ),
      );
      tookMs.push(performance.now() - since);
    }
    await plane.etcdctl('del', '/services/default/shop/db/99');
    tookMs.sort((a, b) => a - b);
    const [median, worst] = [tookMs[rounds / 2]!, tookMs.at(-1)!];
    console.log(
      `record change -> all hosts resolve, asked by dig: median ${median.toFixed(0)} ms, worst ${worst.toFixed(0)} ms`,
    );
  });

  test('malformed packets hurt nobody', async () => {
    const from = web[0]!;
    const server = await gateway(from.host);
    const agent = await box.agentPid(from.host);
    const udp = `
      const socket = require('node:dgram').createSocket('udp4');
      const random = require('node:crypto').randomBytes;
      const real = Buffer.from('12340100000100000000000003777777046e616d6503636f6d0000010001', 'hex');
      const packets = [Buffer.alloc(0), Buffer.alloc(1), Buffer.alloc(11), Buffer.alloc(12, 255)];
      // A name that points at itself, one that runs out of the packet, one cut short everywhere.
      packets.push(Buffer.from('123401000001000000000000c00c00010001', 'hex'));
      packets.push(Buffer.from('1234010000010000000000003f777777', 'hex'));
      for (let n = 0; n < real.length; n++) packets.push(real.subarray(0, n));
      for (let n = 0; n < 400; n++) {
        packets.push(random(n));
        const bent = Buffer.from(real); bent[n % real.length] ^= 1 << (n % 8); packets.push(bent);
      }
      let left = packets.length;
      for (const packet of packets) socket.send(packet, 53, process.argv[1], () => { if (--left === 0) socket.close(); });`;
    expect((await spawned(from, udp, server)).code).toBe(0);
    const tcp = `
      const random = require('node:crypto').randomBytes;
      const chunks = [Buffer.from([255, 255]), Buffer.from([0, 0]), Buffer.from([0, 5, 1]), random(3000)];
      for (const chunk of chunks) {
        const socket = require('node:net').connect(53, process.argv[1]);
        socket.on('error', () => {}); socket.end(chunk);
      }`;
    expect((await spawned(from, tcp, server)).code).toBe(0);
    expect(await resolve(from, 'tasks.web')).toEqual(await addresses('shop-web'));
    expect(await resolve(from, 'tasks.web', '+tcp')).toEqual(await addresses('shop-web'));
    expect(await box.agentPid(from.host)).toBe(agent);
  });
});

describe('foreign names', () => {
  cleansUp('abroad');
  /** A resolver of the outside world, on this machine's address in the box. */
  const socket = createSocket('udp4');
  const asked: string[] = [];

  function answer(message: Buffer): Buffer {
    const query = decode(message);
    const name = query.questions?.[0]?.name ?? '';
    asked.push(name);
    const known = name.toLowerCase() === 'www.example.com';
    const answers: Answer[] = known ? [{ type: 'A', name, ttl: 5, data: '192.0.2.7' }] : [];
    return encode({
      type: 'response',
      id: query.id ?? 0,
      flags: 0x0180 | (known ? 0 : 3),
      questions: query.questions ?? [],
      answers,
    });
  }
  const stream = createServer((connection) => {
    connection.on('error', () => undefined);
    connection.on('data', (data: Buffer) => {
      const reply = answer(data.subarray(2));
      const length = Buffer.alloc(2);
      length.writeUInt16BE(reply.length);
      connection.write(Buffer.concat([length, reply]));
    });
  });

  beforeAll(async () => {
    socket.on('message', (message, from) => {
      socket.send(answer(message), from.port, from.address);
    });
    await new Promise<void>((done) => {
      socket.bind(53, box.outside, done);
    });
    await new Promise<void>((done) => {
      stream.listen(53, box.outside, done);
    });
    expect((stream.address() as AddressInfo).port).toBe(53);
    const file = join(directory, 'resolv.conf');
    await writeFile(file, `nameserver ${box.outside}\n`);
    for (const host of hosts) {
      const bound = await box.sh(host, ['mount', '--bind', file, '/etc/resolv.conf']);
      expect(bound.stderr).toBe('');
    }
    await kubectl.apply(project('abroad', { app: {} }));
    await kubectl.wait('project/abroad');
  });

  afterAll(async () => {
    for (const host of hosts) await box.sh(host, ['umount', '/etc/resolv.conf']);
    socket.close();
    stream.close();
  });

  test("go to the host's own resolvers, over UDP and TCP; ours never do", async () => {
    const app = await containerOf('abroad', 'app');
    await settles('it is forwarded', async () => {
      expect(await resolve(app, 'www.example.com')).toEqual(['192.0.2.7']);
    });
    const server = await gateway(app.host);
    const overTcp = await box.inNetworkOf(app, [
      'dig',
      `@${server}`,
      '+tcp',
      '+short',
      'www.example.com',
    ]);
    expect(overTcp.stdout).toBe('192.0.2.7\n');
    expect((await dig(app, 'nobody.example.com')).stdout).toContain('status: NXDOMAIN');
    await dig(app, 'no-such-service');
    await dig(app, 'no.such.nap.local');
    expect(asked.filter((name) => !name.toLowerCase().endsWith('example.com'))).toEqual([]);
    expect(Object.keys(idsByInstance(await containers('abroad')))).toEqual(['app.1']);
  });
});
