import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { instanceDomain, Zone, type Resolution, type ServiceName } from './zone.ts';

function name(project: string, service: string, namespace = 'default'): ServiceName {
  return { namespace, project, service };
}

function endpoint(address: string, port = 80) {
  return { address, ports: [{ port, protocol: 'tcp' as const }] };
}

function guestbook(): Zone {
  const zone = new Zone();
  zone.setService(name('guestbook', 'web'), {
    ports: [],
    links: [
      { service: 'redis-master', alias: 'db' },
      { service: 'later', alias: 'queue' },
    ],
  });
  zone.setService(name('guestbook', 'redis-master'), { ports: [], links: [] });
  zone.setEndpoint(name('guestbook', 'web'), '1', endpoint('10.77.1.2'));
  zone.setEndpoint(name('guestbook', 'web'), '2', endpoint('10.77.2.2'));
  zone.setEndpoint(name('guestbook', 'redis-master'), '1', endpoint('10.77.3.2'));
  zone.setEndpoint(name('shop', 'web'), '1', endpoint('10.77.4.2'));
  zone.setEndpoint(name('shop', 'db'), '1', endpoint('10.77.4.3'));
  zone.setEndpoint(name('_', 'cache'), '1', endpoint('10.77.5.2'));
  return zone;
}

function addresses(resolution: Resolution): string | readonly string[] {
  return resolution.type === 'found'
    ? resolution.targets.map((t) => t.endpoint.address).sort()
    : resolution.type;
}

describe('plain names', () => {
  const zone = guestbook();
  const web = name('guestbook', 'web');

  it.each([
    ['web', ['10.77.1.2', '10.77.2.2']],
    ['WEB.', ['10.77.1.2', '10.77.2.2']],
    ['db', ['10.77.3.2']],
    ['redis-master-1', ['10.77.3.2']],
    ['db-1', ['10.77.3.2']],
    ['web.2', ['10.77.2.2']],
    ['guestbook-web-1', ['10.77.1.2']],
    ['web-3', []],
    ['queue', 'absent'],
    ['nothing', 'absent'],
    ['cache', 'absent'],
    ['shop-web-1', 'absent'],
    ['1.2.3.4', 'absent'],
    ['example.org', 'foreign'],
    ['', 'foreign'],
    ['.', 'foreign'],
  ])('%j means %j to an instance of guestbook', (plain, expected) => {
    expect(addresses(zone.resolve(web, plain))).toEqual(expected);
  });

  it('mean something else in another project: "db" is shop’s own service, not guestbook’s alias', () => {
    expect(addresses(zone.resolve(name('shop', 'web'), 'db'))).toEqual(['10.77.4.3']);
    expect(addresses(zone.resolve(name('guestbook', 'redis-master'), 'db'))).toBe('absent');
  });

  it('mean nothing to a stranger', () => {
    expect(addresses(zone.resolve(undefined, 'web'))).toBe('absent');
  });

  it('reach standalone services from standalone services of the namespace', () => {
    expect(addresses(zone.resolve(name('_', 'other'), 'cache'))).toEqual(['10.77.5.2']);
    expect(addresses(zone.resolve(name('_', 'other', 'elsewhere'), 'cache'))).toBe('absent');
  });
});

describe('full names', () => {
  const zone = guestbook();

  it.each([
    ['web.guestbook.default.nap.local', ['10.77.1.2', '10.77.2.2']],
    ['2.web.guestbook.default.nap.local', ['10.77.2.2']],
    ['web-2.guestbook.default.nap.local', ['10.77.2.2']],
    ['guestbook-web-2.default.nap.local', ['10.77.2.2']],
    ['guestbook-redis-master-1.default.nap.local', ['10.77.3.2']],
    ['cache.default.nap.local', ['10.77.5.2']],
    ['1.cache.default.nap.local', ['10.77.5.2']],
    ['guestbook.default.nap.local', 'empty'],
    ['default.nap.local', 'empty'],
    ['nap.local', 'empty'],
    ['web.guestbook.other.nap.local', 'absent'],
    ['a.b.c.d.e.nap.local', 'absent'],
    ['x.nap.local', 'absent'],
    ['web..default.nap.local', 'absent'],
    ['notnap.local', 'foreign'],
  ])('%s is %j', (full, expected) => {
    expect(addresses(zone.resolve(undefined, full))).toEqual(expected);
  });
});

describe('changes', () => {
  it('make a name exist as long as its record or one of its addresses does', () => {
    const zone = new Zone();
    const db = name('p', 'db');
    zone.setEndpoint(db, '1', endpoint('10.77.1.9'));
    zone.setService(db, { ports: [], links: [] });
    zone.deleteEndpoint(db, '1');
    expect(addresses(zone.resolve(db, 'db'))).toEqual([]);
    zone.deleteService(db);
    expect(addresses(zone.resolve(db, 'db'))).toBe('absent');
    expect(addresses(zone.resolve(db, 'p.default.nap.local'))).toBe('absent');
    expect(zone.size).toBe(0);
  });

  it('let an address pass from one instance to another in any order', () => {
    const zone = new Zone();
    const a = name('p', 'a');
    const b = name('p', 'b');
    zone.setEndpoint(a, '1', endpoint('10.77.1.9'));
    zone.setEndpoint(b, '1', endpoint('10.77.1.9'));
    zone.deleteEndpoint(a, '1');
    expect(zone.instanceAt('10.77.1.9')).toMatchObject({ service: 'b', ordinal: '1' });
  });

  it('may be two of one ordinal during an update, both under its one name', () => {
    const zone = new Zone();
    const web = name('p', 'web');
    zone.setEndpoint(web, '1', endpoint('10.77.1.9'));
    zone.setEndpoint(web, '1.b', endpoint('10.77.2.9'));
    for (const asked of ['web', 'web-1']) {
      const found = zone.resolve(web, asked);
      expect(found.type === 'found' && found.targets).toMatchObject([
        { ordinal: '1', endpoint: { address: '10.77.1.9' } },
        { ordinal: '1', endpoint: { address: '10.77.2.9' } },
      ]);
    }
    expect(zone.instanceAt('10.77.2.9')).toMatchObject({ service: 'web', ordinal: '1' });
  });

  it('leave what a model with plain maps would have', () => {
    const service = fc.constantFrom('a', 'b', 'c');
    const ordinal = fc.constantFrom('1', '2');
    const change = fc.oneof(
      fc.record({
        kind: fc.constant('set' as const),
        service,
        ordinal,
        host: fc.integer({ min: 2, max: 5 }),
      }),
      fc.record({ kind: fc.constant('delete' as const), service, ordinal }),
    );
    fc.assert(
      fc.property(fc.array(change, { maxLength: 40 }), (changes) => {
        const zone = new Zone();
        const model = new Map<string, string>();
        for (const c of changes) {
          const key = `${c.ordinal}.${c.service}`;
          if (c.kind === 'set') {
            model.set(key, `10.77.0.${c.host}`);
            zone.setEndpoint(name('p', c.service), c.ordinal, endpoint(`10.77.0.${c.host}`));
          } else {
            model.delete(key);
            zone.deleteEndpoint(name('p', c.service), c.ordinal);
          }
        }
        for (const s of ['a', 'b', 'c']) {
          const expected = ['1', '2'].flatMap((o) => model.get(`${o}.${s}`) ?? []).sort();
          const found = addresses(zone.resolve(name('p', 'x'), s));
          expect(found).toEqual(expected.length === 0 ? 'absent' : expected);
        }
      }),
    );
  });

  it('resolve every instance by the name that answers point at', () => {
    const label = fc.stringMatching(/^[a-z0-9]([-a-z0-9]{0,6}[a-z0-9])?$/);
    fc.assert(
      fc.property(
        label,
        fc.oneof(fc.constant('_'), label),
        label,
        fc.integer({ min: 1, max: 99 }),
        (namespace, project, service, n) => {
          const zone = new Zone();
          const who = { namespace, project, service };
          zone.setEndpoint(who, String(n), endpoint('10.77.1.2'));
          expect(addresses(zone.resolve(undefined, instanceDomain(who, String(n))))).toEqual([
            '10.77.1.2',
          ]);
        },
      ),
    );
  });
});

describe('a service with a virtual IP', () => {
  const zone = guestbook();
  const web = name('guestbook', 'web');
  zone.setService(name('guestbook', 'redis-master'), {
    ports: [],
    links: [],
    virtualIP: '10.78.0.9',
  });
  zone.setService(name('_', 'cache'), {
    ports: [],
    links: [],
    virtualIP: '10.78.0.10',
    isolation: 'open',
  });
  zone.setService(name('shop', 'app'), {
    ports: [],
    links: [
      { service: 'redis-master', project: 'guestbook', alias: 'store' },
      { service: 'cache', project: '_', alias: 'cache' },
    ],
  });
  const meaning = (asker: ServiceName, plain: string): unknown => {
    const found = zone.resolve(asker, plain);
    return found.type === 'found' && found.virtualIP !== undefined
      ? found.virtualIP
      : addresses(found);
  };

  it.each([
    ['redis-master', '10.78.0.9'],
    ['db', '10.78.0.9'],
    ['redis-master.guestbook.default.nap.local', '10.78.0.9'],
    ['cache.default.nap.local', '10.78.0.10'],
    ['tasks.redis-master', ['10.77.3.2']],
    ['TASKS.db', ['10.77.3.2']],
    ['tasks.web', ['10.77.1.2', '10.77.2.2']],
    ['tasks.redis-master.guestbook.default.nap.local', ['10.77.3.2']],
    ['tasks.cache.default.nap.local', ['10.77.5.2']],
    ['redis-master-1', ['10.77.3.2']],
    ['tasks.nothing', 'foreign'],
    ['tasks.example.org', 'foreign'],
    ['tasks.nothing.guestbook.default.nap.local', 'absent'],
  ])('%s means %j', (plain, expected) => {
    expect(meaning(web, plain)).toEqual(expected);
  });

  it('is reached by links of other projects under their alias only', () => {
    expect(meaning(name('shop', 'app'), 'store')).toBe('10.78.0.9');
    expect(meaning(name('shop', 'app'), 'tasks.store')).toEqual(['10.77.3.2']);
    expect(meaning(name('shop', 'app'), 'store-1')).toEqual(['10.77.3.2']);
    expect(meaning(name('shop', 'app'), 'cache')).toBe('10.78.0.10');
    expect(meaning(name('shop', 'web'), 'store')).toBe('absent');
  });

  it('is known by its address for as long as it has it', () => {
    expect(zone.serviceAt('10.78.0.9')).toEqual(name('guestbook', 'redis-master'));
    const other = new Zone();
    other.setService(web, { ports: [], links: [], virtualIP: '10.78.0.1' });
    other.setService(name('shop', 'db'), { ports: [], links: [], virtualIP: '10.78.0.1' });
    other.deleteService(web);
    expect(other.serviceAt('10.78.0.1')).toEqual(name('shop', 'db'));
    other.setService(name('shop', 'db'), { ports: [], links: [] });
    expect(other.serviceAt('10.78.0.1')).toBeUndefined();
  });
});

describe('who sees whom', () => {
  const zone = new Zone();
  const set = (
    project: string,
    service: string,
    more: { isolation?: string; links?: { service: string; alias: string; project?: string }[] },
  ): void => {
    zone.setService(name(project, service), { ports: [], links: [], ...more });
    zone.setEndpoint(name(project, service), '1', endpoint(`10.77.1.${zone.size + 1}`));
  };
  set('shop', 'db', {});
  set('shop', 'web', {});
  set('blog', 'web', { links: [{ service: 'db', alias: 'store', project: 'shop' }] });
  set('blog', 'cron', {});
  set('bank', 'db', { isolation: 'strict' });
  set('bank', 'web', { isolation: 'strict', links: [{ service: 'db', alias: 'db' }] });
  set('bank', 'cron', { isolation: 'strict' });
  set('stats', 'in', { isolation: 'open' });
  const sees = (asker: Parameters<Zone['resolve']>[0], what: string): boolean =>
    zone.resolve(asker, what).type === 'found';
  const full = (service: string): readonly string[] =>
    ['', 'tasks.', '1.'].map((before) => `${before}${service}.default.nap.local`);

  it.each([
    ['shop/web', 'db.shop', true],
    ['blog/web', 'db.shop', true],
    ['blog/web', 'web.shop', false],
    ['blog/cron', 'db.shop', false],
    ['shop/db', 'web.blog', false],
    ['bank/web', 'db.bank', true],
    ['bank/cron', 'db.bank', false],
    ['bank/db', 'db.bank', true],
    ['bank/db', 'web.bank', false],
    ['blog/cron', 'in.stats', true],
  ])('%s and the name of %s: %s', (asker, service, expected) => {
    const [project = '', its = ''] = asker.split('/');
    for (const each of full(service)) expect(sees(name(project, its), each)).toBe(expected);
  });

  it('holds for plain names, too', () => {
    expect(sees(name('bank', 'web'), 'db')).toBe(true);
    expect(sees(name('bank', 'cron'), 'db')).toBe(false);
    expect(sees(name('bank', 'cron'), 'db-1')).toBe(false);
    expect(sees(name('blog', 'web'), 'store')).toBe(true);
    expect(zone.resolve(name('bank', 'cron'), 'db').type).toBe('absent');
  });

  it('the host sees all, whom nap does not run only what is open', () => {
    for (const each of full('db.bank')) expect(sees(undefined, each)).toBe(true);
    for (const each of full('db.bank')) expect(sees('stranger', each)).toBe(false);
    for (const each of full('in.stats')) expect(sees('stranger', each)).toBe(true);
    expect(sees('stranger', 'db')).toBe(false);
  });

  it('follows changes', () => {
    set('blog', 'web', {});
    expect(sees(name('blog', 'web'), 'db.shop.default.nap.local')).toBe(false);
    set('shop', 'db', { isolation: 'open' });
    expect(sees(name('blog', 'web'), 'db.shop.default.nap.local')).toBe(true);
  });
});
