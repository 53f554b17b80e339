import { describe, expect, it } from 'vitest';
import { serviceId, type ServiceIdentity } from '../../api/v1alpha1/names.ts';
import { routerIdentity } from '../../api/v1alpha1/router.ts';
import { isolatedService, maySpeak, type IsolatedService } from './permission.ts';

const named = (name: string): ServiceIdentity => {
  const [namespace = '', project = '', service = ''] = name.split('/');
  return { namespace, project, service };
};

/** Whether `from` may speak to `to`, when the services that are given are so and all others as by default. */
function may(
  from: string | undefined,
  to: string,
  services: Readonly<Record<string, Partial<Parameters<typeof isolatedService>[0]>>> = {},
): boolean {
  const known = new Map<string, IsolatedService>(
    Object.entries(services).map(([name, record]) => [
      name,
      isolatedService({ links: [], ...record }),
    ]),
  );
  return maySpeak(from === undefined ? undefined : named(from), named(to), (identity) =>
    known.get(serviceId(identity)),
  );
}

describe('maySpeak', () => {
  it('is private by default', () => {
    expect(may('n/shop/web', 'n/shop/db')).toBe(true);
    expect(may('n/blog/web', 'n/shop/db')).toBe(false);
    expect(may('m/shop/web', 'n/shop/db')).toBe(false);
    expect(may('n/_/tool', 'n/_/other')).toBe(true);
    expect(may('n/_/tool', 'n/shop/db')).toBe(false);
    expect(may(undefined, 'n/shop/db')).toBe(false);
  });

  it('lets a link in one way, from its service alone, in its namespace', () => {
    const linked = { 'n/blog/web': { links: [{ service: 'db', project: 'shop' }] } };
    expect(may('n/blog/web', 'n/shop/db', linked)).toBe(true);
    expect(may('n/shop/db', 'n/blog/web', linked)).toBe(false);
    expect(may('n/blog/cron', 'n/shop/db', linked)).toBe(false);
    expect(may('n/blog/web', 'n/shop/web', linked)).toBe(false);
    const elsewhere = { 'm/blog/web': { links: [{ service: 'db', project: 'shop' }] } };
    expect(may('m/blog/web', 'n/shop/db', elsewhere)).toBe(false);
  });

  it('strict: links only, inside the project, too, and of course a service with itself', () => {
    const strict = {
      'n/shop/db': { isolation: 'strict' },
      'n/shop/web': { isolation: 'strict', links: [{ service: 'db' }] },
    };
    expect(may('n/shop/web', 'n/shop/db', strict)).toBe(true);
    expect(may('n/shop/db', 'n/shop/web', strict)).toBe(false);
    expect(may('n/shop/cron', 'n/shop/db', strict)).toBe(false);
    expect(may('n/shop/db', 'n/shop/db', strict)).toBe(true);
    expect(may(undefined, 'n/shop/db', strict)).toBe(false);
  });

  it('open: everybody, also whom nap does not run', () => {
    const open = { 'n/shop/db': { isolation: 'open' } };
    expect(may('m/blog/web', 'n/shop/db', open)).toBe(true);
    expect(may(undefined, 'n/shop/db', open)).toBe(true);
    // Who takes everybody in may not go everywhere.
    expect(may('n/shop/db', 'm/blog/web', open)).toBe(false);
  });

  it('counts a mode that it does not know as strict', () => {
    expect(may('n/shop/web', 'n/shop/db', { 'n/shop/db': { isolation: 'paranoid' } })).toBe(false);
  });

  it('lets the routers in to what has routes, and nobody in to the routers', () => {
    const router = serviceId(routerIdentity);
    expect(may(router, 'n/shop/web', { 'n/shop/web': { routed: true } })).toBe(true);
    expect(may(router, 'n/shop/web', { 'n/shop/web': { isolation: 'strict', routed: true } })).toBe(
      true,
    );
    expect(may(router, 'n/shop/db')).toBe(false);
    expect(may('n/shop/web', router, { 'n/shop/web': { routed: true } })).toBe(false);
  });

  it('counts a run of a job as the job', () => {
    const job = {
      'n/shop/db': { isolation: 'strict' },
      'n/shop/report': { isolation: 'strict', links: [{ service: 'db' }] },
      'n/shop/report-17': { isolation: 'strict', memberOf: 'report' },
      'n/shop/web': { links: [{ service: 'report' }] },
    };
    expect(may('n/shop/report-17', 'n/shop/db', job)).toBe(true);
    expect(may('n/shop/web', 'n/shop/report-17', job)).toBe(true);
    expect(may('n/shop/cron', 'n/shop/report-17', job)).toBe(false);
  });
});
