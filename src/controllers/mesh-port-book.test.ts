import { describe, expect, it } from 'vitest';
import { serviceRecords, type ServiceRecord } from '../registry/records/index.ts';
import type { PlacementRecord } from '../registry/records/placement.ts';
import { ClusterState } from '../scheduler/index.ts';
import { aHost } from '../scheduler/fixtures.ts';
import { MeshPortBook } from './mesh-port-book.ts';
import { PlacementBook } from './placement/book.ts';

type Protocol = 'tcp' | 'udp';

const pathOf = (service: string): string =>
  serviceRecords.path({ namespace: 'default', project: 'shop', service });

type Wanted = number | [number, Protocol];

function recordWith(...ports: readonly Wanted[]): ServiceRecord {
  const mesh = ports.map((each) => {
    const [port, protocol] = typeof each === 'number' ? [each, 'tcp' as const] : each;
    return { port, protocol, target: 80 };
  });
  return { uid: 'u', ports: [], links: [], ...(mesh.length === 0 ? {} : { mesh }) };
}

function setUp() {
  const state = new ClusterState();
  state.setHost(aHost('h1'));
  const placements = new PlacementBook(state);
  const book = new MeshPortBook(state, placements);
  const admit = (service: string, ...ports: readonly Wanted[]) => {
    const { record, freed } = book.admitted(pathOf(service), recordWith(...ports));
    return { has: record?.mesh?.map(({ port }) => port), freed };
  };
  return { state, placements, book, admit };
}

function onHost(hostPort: number): PlacementRecord {
  return {
    id: 'a',
    serviceUID: 'u',
    specHash: '1',
    placedAt: '2026-01-01T00:00:00Z',
    container: {
      image: 'i',
      environment: {},
      ports: [{ hostPort, containerPort: 80, protocol: 'tcp' }],
      mounts: [],
      labels: {},
      hostname: 'h',
      pullPolicy: 'missing',
      restart: 'always',
      stopGracePeriodMs: 1000,
      limits: {},
      reservations: {},
    },
  };
}

describe('a port of every host', () => {
  it('belongs to whoever asked first; the other one is told who has it', () => {
    const { admit, book } = setUp();
    expect(admit('web', 80)).toEqual({ has: [80], freed: [] });
    expect(admit('api', 80, 81).has).toEqual([81]);
    expect(book.problemOf(pathOf('api'))?.message).toContain('80/tcp is taken by default/shop/web');
    expect(book.problemOf(pathOf('web'))).toBeUndefined();
    // Asking again changes nothing.
    expect(admit('web', 80).has).toEqual([80]);
  });

  it('is another one for each protocol', () => {
    const { admit } = setUp();
    expect(admit('dns', [53, 'udp']).has).toEqual([53]);
    expect(admit('zone', [53, 'tcp']).has).toEqual([53]);
  });

  it('goes to whoever waits, when it is given up or its service is gone', () => {
    const { admit, book } = setUp();
    admit('web', 80);
    admit('api', 80);
    expect(admit('web', 8080).freed).toEqual([pathOf('api')]);
    expect(admit('api', 80).has).toEqual([80]);
    expect(book.problemOf(pathOf('api'))).toBeUndefined();
    expect([...book.waiting()]).toEqual([]);
    admit('web', 80);
    expect(book.admitted(pathOf('api'), undefined).freed).toEqual([pathOf('web')]);
  });

  it('stays with its service when another operator leads, whatever the order of the records', () => {
    for (const order of [
      ['web', 'api'],
      ['api', 'web'],
    ]) {
      const { admit, book } = setUp();
      const records = [
        { path: pathOf('web'), value: recordWith(80) },
        { path: pathOf('api'), value: recordWith(81) },
      ];
      book.begin(records);
      for (const service of order) admit(service, 80, 81);
      expect(admit('web', 80, 81).has).toEqual([80]);
      expect(admit('api', 80, 81).has).toEqual([81]);
    }
  });

  it('is not taken from an instance that has it on its own host, and keeps others away', () => {
    const { admit, book, placements, state } = setUp();
    const key = { namespace: 'default', project: 'shop', service: 'db', ordinal: '1', host: 'h1' };
    placements.put(key, '/p', 1n, onHost(80));
    expect(admit('web', 80).has).toBeUndefined();
    expect(book.problemOf(pathOf('web'))?.message).toContain('default/shop/db on host h1');
    placements.delete('/p', 2n);
    expect(admit('web', 80).has).toEqual([80]);
    expect(state.everywhere.get('80/tcp')).toBe('default/shop/web');
  });
});
