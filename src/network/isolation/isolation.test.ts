import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { serviceId, type ServiceIdentity } from '../../api/v1alpha1/names.ts';
import { routerIdentity } from '../../api/v1alpha1/router.ts';
import { Isolation } from './isolation.ts';
import { allowedSet, groupMap, isolationSets, memberMap, openSet } from './isolation-rules.ts';
import { ElementLedger } from '../nftables/nft-elements.ts';
import { maySpeak, principalOf, type IsolatedService } from './permission.ts';

/** One host: builder, ledger, and what its rules would do with a packet. */
class Host {
  readonly ledger = new ElementLedger(isolationSets);
  readonly isolation = new Isolation(this.ledger);

  constructor() {
    this.ledger.adopt(new Map());
  }

  /** Returns the number of elements that were written. */
  flush(): number {
    this.isolation.update();
    const batch = this.ledger.take();
    if (batch !== undefined) this.ledger.settle(batch);
    return batch?.changes.length ?? 0;
  }

  passes(from: string, to: string): boolean {
    if (this.ledger.get(openSet, to) !== undefined) return true;
    return [groupMap, memberMap].some((map) => {
      const mark = this.ledger.get(map, from);
      return mark !== undefined && this.ledger.get(allowedSet, `${to} . ${mark}`) !== undefined;
    });
  }

  /** Everything that is in the kernel. */
  elements(): string[] {
    const { ledger } = this;
    ledger.distrust();
    ledger.adopt(new Map());
    const changes = ledger.take()?.changes ?? [];
    return changes.map(({ set, key, after }) => `${set} ${key} ${after ?? '(none)'}`).sort();
  }
}

const at = (project: string, service: string, namespace = 'default'): ServiceIdentity => ({
  namespace,
  project,
  service,
});
const priv = (...links: IsolatedService['links'][number][]): IsolatedService => ({
  mode: 'private',
  links,
  routed: false,
});

describe('Isolation', () => {
  it('lets a project speak with itself, and a linked service in one way only', () => {
    const host = new Host();
    const { isolation } = host;
    isolation.setService(at('shop', 'db'), priv());
    isolation.setService(at('shop', 'web'), priv());
    isolation.setService(at('blog', 'web'), priv({ service: 'db', project: 'shop' }));
    isolation.setService(at('blog', 'cron'), priv());
    const addresses = {
      db: ['10.77.1.2', at('shop', 'db')],
      web: ['10.77.2.2', at('shop', 'web')],
      blog: ['10.77.1.3', at('blog', 'web')],
      cron: ['10.77.3.2', at('blog', 'cron')],
    } as const;
    for (const [address, identity] of Object.values(addresses)) {
      isolation.setSource(address, identity);
      isolation.setLocal(address, identity);
    }
    host.flush();
    const [db, web, blog, cron] = Object.values(addresses).map(([address]) => address);
    expect(host.passes(web!, db!)).toBe(true);
    expect(host.passes(db!, web!)).toBe(true);
    expect(host.passes(blog!, db!)).toBe(true);
    expect(host.passes(db!, blog!)).toBe(false);
    expect(host.passes(blog!, web!)).toBe(false);
    expect(host.passes(cron!, db!)).toBe(false);
    expect(host.passes('10.77.1.9', db!)).toBe(false);
  });

  it('writes a few elements for one address, however many there are', () => {
    const host = new Host();
    const { isolation } = host;
    for (let p = 0; p < 100; p++) {
      for (let s = 0; s < 20; s++) {
        isolation.setService(at(`p${p}`, `s${s}`), priv());
        isolation.setSource(`10.77.${p}.${s + 2}`, at(`p${p}`, `s${s}`));
      }
    }
    isolation.setLocal('10.77.1.2', at('p1', 's0'));
    // One number, and the twenty addresses of its project; nothing of the ninety-nine others.
    expect(host.flush()).toBe(21);
    isolation.setSource('10.78.0.2', at('p1', 's3'));
    isolation.setSource('10.78.0.3', at('p2', 's3'));
    expect(host.flush()).toBe(1);
    isolation.setLocal('10.77.1.3', at('p1', 's1'));
    expect(host.flush()).toBe(1);
  });

  it('gives two names with one number another', () => {
    const host = new Host();
    // FNV-1a of both n/p2vl8 and n/pjpd6 is 1,264,194,946.
    for (const [i, project] of ['p2vl8', 'pjpd6'].entries()) {
      host.isolation.setService(at(project, 'web', 'n'), priv());
      host.isolation.setSource(`10.77.1.${i + 2}`, at(project, 'web', 'n'));
      host.isolation.setLocal(`10.77.1.${i + 2}`, at(project, 'web', 'n'));
    }
    host.flush();
    expect(host.passes('10.77.1.2', '10.77.1.2')).toBe(true);
    expect(host.passes('10.77.1.3', '10.77.1.3')).toBe(true);
    expect(host.passes('10.77.1.2', '10.77.1.3')).toBe(false);
    expect(host.passes('10.77.1.3', '10.77.1.2')).toBe(false);
  });

  it('keeps what a service may and takes in while its last instances end', () => {
    const host = new Host();
    const { isolation } = host;
    isolation.setService(at('shop', 'db'), { ...priv(), mode: 'strict' });
    isolation.setService(at('blog', 'web'), priv({ service: 'db', project: 'shop' }));
    isolation.setSource('10.77.2.2', at('blog', 'web'));
    isolation.setLocal('10.77.1.2', at('shop', 'db'));
    isolation.setService(at('blog', 'web'), undefined);
    isolation.setService(at('shop', 'db'), undefined);
    host.flush();
    expect(host.passes('10.77.2.2', '10.77.1.2')).toBe(true);
    isolation.setSource('10.77.2.2', undefined);
    isolation.setLocal('10.77.1.2', undefined);
    host.flush();
    expect(host.elements()).toEqual([]);
    // What comes under the same names later has no part in it.
    isolation.setSource('10.77.2.2', at('blog', 'web'));
    isolation.setLocal('10.77.1.2', at('shop', 'db'));
    host.flush();
    expect(host.passes('10.77.2.2', '10.77.1.2')).toBe(false);
  });

  it('lets in exactly whom the rule lets speak, whatever happens in whichever order', () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60 }), (events) => {
        const host = new Host();
        const model = new Model();
        for (const each of events) {
          model.apply(each);
          apply(host, each);
        }
        expectSame(host, model);
      }),
      { numRuns: 1000 },
    );
  });

  it('comes to the same elements by small steps as at once', () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 40 }), (events) => {
        const [stepwise, atOnce] = [new Host(), new Host()];
        for (const each of events) {
          apply(stepwise, each);
          apply(atOnce, each);
          stepwise.flush();
        }
        atOnce.flush();
        expect(stepwise.elements()).toEqual(atOnce.elements());
      }),
      { numRuns: 200 },
    );
  });

  it('leaves nothing behind', () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60 }), (events) => {
        const host = new Host();
        for (const each of events) apply(host, each);
        host.flush();
        for (const address of addressPool) {
          host.isolation.setSource(address, undefined);
          host.isolation.setLocal(address, undefined);
        }
        for (const identity of identities) host.isolation.setService(identity, undefined);
        host.flush();
        expect(host.elements()).toEqual([]);
        expect(host.isolation.size).toBe(0);
      }),
      { numRuns: 200 },
    );
  });
});

const identities: readonly ServiceIdentity[] = [
  ...['shop', 'blog', '_'].flatMap((project) =>
    ['web', 'db', 'job', 'job-1'].map((service) => at(project, service)),
  ),
  at('shop', 'web', 'other'),
  routerIdentity,
];
const addressPool = Array.from({ length: 12 }, (_, i) => `10.77.1.${i + 2}`);

type Event =
  | {
      readonly type: 'service';
      readonly identity: ServiceIdentity;
      readonly service: IsolatedService | undefined;
    }
  | {
      readonly type: 'source' | 'local';
      readonly address: string;
      readonly identity: ServiceIdentity | undefined;
    };

const anyIdentity = fc.constantFrom(...identities);
const anyService: fc.Arbitrary<IsolatedService> = fc.record({
  mode: fc.constantFrom('private', 'private', 'strict', 'open'),
  links: fc.array(
    fc.record({
      service: fc.constantFrom('web', 'db', 'job'),
      project: fc.constantFrom(undefined, 'shop', 'blog', '_'),
    }),
    { maxLength: 2 },
  ),
  routed: fc.boolean(),
  memberOf: fc.constantFrom(undefined, undefined, 'job'),
});
const event: fc.Arbitrary<Event> = fc.oneof(
  fc.record({
    type: fc.constant('service' as const),
    identity: anyIdentity,
    service: fc.option(anyService, { nil: undefined, freq: 5 }),
  }),
  fc.record({
    type: fc.constantFrom('source' as const, 'local' as const),
    address: fc.constantFrom(...addressPool),
    identity: fc.option(anyIdentity, { nil: undefined, freq: 5 }),
  }),
);

function apply({ isolation }: Host, each: Event): void {
  if (each.type === 'service') isolation.setService(each.identity, each.service);
  else if (each.type === 'source') isolation.setSource(each.address, each.identity);
  else isolation.setLocal(each.address, each.identity);
}

/** The facts as they are, looked through anew for each question. */
class Model {
  readonly services = new Map<string, IsolatedService>();
  readonly gone = new Set<string>();
  readonly sources = new Map<string, ServiceIdentity>();
  readonly locals = new Map<string, ServiceIdentity>();

  apply(each: Event): void {
    if (each.type === 'service') {
      const id = serviceId(each.identity);
      if (each.service === undefined) this.gone.add(id);
      else {
        this.gone.delete(id);
        this.services.set(id, each.service);
      }
    } else {
      const map = each.type === 'source' ? this.sources : this.locals;
      if (each.identity === undefined) map.delete(each.address);
      else map.set(each.address, each.identity);
    }
    // The last word of a service that is gone holds as long as it has addresses, or runs.
    const used = new Set([...this.sources.values(), ...this.locals.values()].map(serviceId));
    for (const identity of identities) {
      const id = serviceId(identity);
      const service = this.services.get(id);
      const isThere = used.has(id) || !this.gone.has(id);
      if (service?.memberOf === undefined || !isThere) continue;
      used.add(serviceId(principalOf(identity, service)));
    }
    for (const id of this.gone) {
      if (used.has(id)) continue;
      this.gone.delete(id);
      this.services.delete(id);
    }
  }

  passes(from: string, to: string): boolean {
    const target = this.locals.get(to);
    if (target === undefined) return false;
    return maySpeak(this.sources.get(from), target, (identity) =>
      this.services.get(serviceId(identity)),
    );
  }
}

function expectSame(host: Host, model: Model): void {
  host.flush();
  for (const from of [...addressPool, '10.99.0.1']) {
    for (const to of addressPool) {
      expect([from, to, host.passes(from, to)]).toEqual([from, to, model.passes(from, to)]);
    }
  }
}
