import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseCidr } from '../address/cidr.ts';
import {
  desiredDirectTables,
  diffDirectTables,
  emptyDirectTables,
  peersIn,
  type DirectPeer,
  type DirectTables,
} from './direct-routes.ts';

const network = parseCidr('10.77.0.0/16');
const wanted = (peers: readonly DirectPeer[]): DirectTables =>
  desiredDirectTables(network, '10.77.1.0', peers);

function peer(n: number, path: DirectPeer['path'], address = `10.99.0.${n}`): DirectPeer {
  return { subnet: `10.77.${n}.0/24`, address, path };
}

const arbitraryTables: fc.Arbitrary<DirectTables> = fc
  .uniqueArray(
    fc.tuple(
      fc.integer({ min: 2, max: 9 }),
      fc.constantFrom<DirectPeer['path']>('direct', 'tried', 'tunnel'),
      fc.integer({ min: 2, max: 5 }),
    ),
    { selector: ([n]) => n },
  )
  .chain((peers) =>
    fc.constantFrom(
      wanted(peers.map(([n, path, a]) => peer(n, path, `10.99.0.${a}`))),
      emptyDirectTables,
    ),
  );

/** What `ip -batch` makes of the lines. */
function applied(tables: DirectTables, lines: readonly string[]): DirectTables {
  const rules = new Map(tables.rules);
  const routes = new Map(tables.routes);
  for (const line of lines) {
    const words = line.split(' ');
    const at = (word: string): string => words[words.indexOf(word) + 1] ?? '';
    const key = `${at('table')} ${words[2] ?? ''}`;
    if (line.startsWith('route replace')) routes.set(key, at('via'));
    else if (line.startsWith('route del')) routes.delete(key);
    else if (line.startsWith('rule add'))
      rules.set(Number(at('pref')), line.replace(/^rule add pref \d+ | protocol .*/g, ''));
    else rules.delete(Number(at('pref')));
  }
  return { rules, routes };
}

describe('direct routes', () => {
  it('lie beside the tunnel’s, in a table for what goes from the overlay to the overlay', () => {
    const { rules, routes } = wanted([peer(2, 'direct'), peer(3, 'tried'), peer(4, 'tunnel')]);
    expect([...rules.values()]).toEqual([
      'from 10.77.1.0/32 to 10.77.0.0/16 fwmark 0x6e617064 lookup 1779',
      'from 10.77.0.0/16 to 10.77.0.0/16 lookup 1778',
    ]);
    expect(Object.fromEntries(routes)).toEqual({
      '1778 10.77.2.0/24': '10.99.0.2',
      '1779 10.77.2.0/24': '10.99.0.2',
      '1779 10.77.3.0/24': '10.99.0.3',
    });
  });

  it('are led from any state to any other, replaced and not deleted first', () => {
    fc.assert(
      fc.property(arbitraryTables, arbitraryTables, (from, to) => {
        const lines = diffDirectTables(from, to, 'eth0');
        expect(applied(from, lines)).toEqual(to);
        expect(diffDirectTables(to, to, 'eth0')).toEqual([]);
        for (const line of lines) {
          const [, verb, subnet = ''] = line.split(' ');
          if (line.startsWith('route') && verb === 'del') {
            expect(to.routes.has(`${line.split(' table ')[1] ?? ''} ${subnet}`)).toBe(false);
          }
        }
      }),
    );
  });

  it('are for the hosts that the tunnel leads to', () => {
    const tables = {
      routes: new Map([
        ['10.77.2.0/24', '10.77.2.0'],
        ['10.77.3.0/24', '10.77.3.0'],
      ]),
      neighbours: new Map([['10.77.2.0', '02:00:00:00:00:02']]),
      forwarding: new Map([['02:00:00:00:00:02', '10.99.0.2']]),
    };
    expect([...peersIn(tables)]).toEqual([
      {
        subnet: '10.77.2.0/24',
        via: '10.77.2.0',
        vtep: '02:00:00:00:00:02',
        address: '10.99.0.2',
      },
    ]);
  });
});
