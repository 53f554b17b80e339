import { request } from 'node:https';
import { connect, type PeerCertificate } from 'node:tls';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isAborted } from '../../src/runtime/aborted.ts';
import { routerServiceSpec } from '../../src/controllers/routes/router-service.ts';
import { Pebble } from '../support/pebble.ts';
import { box, cleansUp, conditions, hosts, kubectl, plane, project, settles } from './harness.ts';

const name = 'safe.test';
const web = {
  command: ['sh', '-c', 'mkdir -p /www; echo hello >/www/index.html; httpd -f -p 8080 -h /www'],
  ports: ['8080'],
  healthCheck: { http: { port: 8080 }, interval: '1s' },
  routes: [{ host: name, tls: { acme: {} } }],
};

let pebble: Pebble;
let root = '';

/** What a host's router shows for the name to somebody who trusts the authority. */
function shown(host: string): Promise<PeerCertificate> {
  return new Promise((resolve, reject) => {
    const options = { host: box.address(host), port: 443, servername: name, ca: root };
    const socket = connect(options, () => {
      resolve(socket.getPeerCertificate());
      socket.end();
    });
    socket.setTimeout(10_000, () => socket.destroy(new Error('no answer')));
    socket.on('error', reject);
  });
}

/** Status and body of a request over https, by somebody who trusts the authority. */
function get(host: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = { host: box.address(host), servername: name, ca: root, timeout: 10_000 };
    const sent = request({ ...options, agent: false, headers: { host: name } }, (response) => {
      let text = `${response.statusCode} `;
      response.on('data', (data: Buffer) => (text += data.toString()));
      response.on('end', () => {
        resolve(text.trim());
      });
    });
    sent.on('timeout', () => sent.destroy(new Error('no answer'))).on('error', reject);
    sent.end();
  });
}

describe('certificates that are obtained', () => {
  cleansUp('safe');

  beforeAll(async () => {
    const { address, acmePort = 0 } = plane.place;
    pebble = await Pebble.prepare({
      address,
      ports: [acmePort, acmePort + 1, acmePort + 2, acmePort + 3],
      // Where the authority looks is one host's router, as any other's would be.
      resolveTo: box.address('h2'),
      httpPort: 80,
      // The last third is for a renewal, also by an operator that has to notice first that the one before it is gone.
      validitySeconds: 45,
      tls: plane.serverTls,
    });
  });

  afterAll(async () => {
    await kubectl.run('delete', 'project/safe', '--ignore-not-found', '--timeout=120s');
    const router = ['napsvc/nap-router', '-n', 'nap-system'];
    await kubectl.run('delete', ...router, '--ignore-not-found', '--timeout=120s');
    await kubectl.run('delete', `secret/acme.${name}`, '--ignore-not-found');
    await kubectl.run(
      ...['delete', 'secret/nap-acme-account', '-n', 'nap-system', '--ignore-not-found'],
    );
    await pebble.remove();
  });

  test('an authority that does not answer is waited for, and that is said', async () => {
    await kubectl.apply({
      apiVersion: 'nap.dev/v1alpha1',
      kind: 'Service',
      metadata: { name: 'nap-router', namespace: 'nap-system' },
      spec: routerServiceSpec({ image: 'nap-demo/router:1' }),
    });
    await kubectl.apply(project('safe', { web }));
    await settles('it is said that nobody answers', async () => {
      const { Routed } = await conditions('napsvc/safe-web');
      expect(Routed).toMatchObject({ status: 'False', reason: 'CertificateFailed' });
      expect(Routed?.message).toMatch(
        /^safe.test\/ is not served: routes\[0\].tls.acme: no certificate for safe.test from .* does not answer: .*; tried again at 20/,
      );
    });
    await pebble.start();
    root = await pebble.root();
  });

  test('https works on every host, with one certificate that the authority issued', async () => {
    await settles(
      'https works',
      async () => {
        for (const host of hosts) expect(await get(host)).toBe('200 hello');
      },
      60_000,
    );
    const seen = await Promise.all(hosts.map(shown));
    expect(new Set(seen.map(({ fingerprint256 }) => fingerprint256)).size).toBe(1);
    expect(seen[0]?.subjectaltname).toBe(`DNS:${name}`);
    expect(pebble.orders).toBe(1);
    await settles('the condition follows', async () => {
      expect((await conditions('project/safe'))['Routed']).toMatchObject({ status: 'True' });
    });
  });

  test('it is renewed by the operator that leads then, and nobody notices', async () => {
    const before = await shown('h1');
    const failures: string[] = [];
    const stop = new AbortController();
    const working = (async () => {
      while (!isAborted(stop.signal)) {
        for (const host of hosts) {
          const said = await get(host).catch((error: unknown) => String(error));
          if (said !== '200 hello') failures.push(`${host}: ${said}`);
        }
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    })();
    try {
      await (await plane.leader()).restart();
      await settles(
        'all hosts have another certificate',
        async () => {
          const seen = new Set((await Promise.all(hosts.map(shown))).map((c) => c.serialNumber));
          expect(seen.size).toBe(1);
          expect(seen.has(before.serialNumber)).toBe(false);
        },
        60_000,
      );
    } finally {
      stop.abort();
      await working;
    }
    expect(failures).toEqual([]);
    expect(Date.now()).toBeLessThan(Date.parse(before.valid_to));
  });
});
