import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { eventually } from '../../../test/support/eventually.ts';
import { parseCidr } from '../../network/address/cidr.ts';
import { MemoryDatabase } from '../../registry/memory/database.ts';
import { MemoryStore } from '../../registry/memory/store.ts';
import { addressRecords } from '../../registry/records/index.ts';
import { systemClock } from '../../runtime/clock.ts';
import { silentLogger } from '../../telemetry/log.ts';
import type { OwnedContainer } from '../ownership.ts';
import { AddressBook } from './address-book.ts';
import { AddressFeed } from './address-feed.ts';
import { AddressWriter } from './address-writer.ts';

const web = { namespace: 'default', project: 'shop', service: 'web' };
const subnet = '10.77.1.0/24';
const path = (address: string): string => addressRecords.path({ subnet, address });
const container = (address: string): OwnedContainer =>
  ({
    ...{ id: address, state: 'running', key: { ...web, ordinal: '1' } },
    addresses: { nap: address },
  }) as unknown as OwnedContainer;

let observer: MemoryStore;
let book: AddressBook;
let writer: AddressWriter;
let licensed: boolean;
let stop: AbortController;
let running: Promise<unknown>;

beforeEach(() => {
  const database = new MemoryDatabase();
  observer = new MemoryStore({ database });
  const store = new MemoryStore({ database });
  const common = { clock: systemClock, log: silentLogger };
  const feed = new AddressFeed({ store, ...common });
  book = new AddressBook('nap', () => systemClock.monotonic());
  licensed = true;
  writer = new AddressWriter({
    ...{ host: 'h1', store, book, feed, licensed: () => licensed },
    ...common,
  });
  stop = new AbortController();
  running = Promise.all([feed.run(stop.signal), writer.run(stop.signal)]);
});

afterEach(async () => {
  stop.abort();
  await running;
});

const standing = async (): Promise<Record<string, string>> => {
  const { entries } = await observer.list(addressRecords.prefix);
  return Object.fromEntries(
    entries.map(({ key, value }) => [key, addressRecords.decode(value).service]),
  );
};
const becomes = async (wanted: Record<string, string>): Promise<void> => {
  await eventually(`the records are ${JSON.stringify(wanted)}`, async () => {
    const seen = await standing();
    return (
      JSON.stringify(Object.entries(seen).sort()) === JSON.stringify(Object.entries(wanted).sort())
    );
  });
};
const put = (key: string, service: string): Promise<unknown> =>
  observer.commit(
    [],
    [{ type: 'put', key, value: addressRecords.encode({ host: 'h9', ...web, service }) }],
  );

describe('AddressWriter', () => {
  it('says whose addresses are, from when they are set aside until the container is gone', async () => {
    book.subnet = parseCidr(subnet);
    book.complete();
    const address = book.reserve(web)!;
    await writer.told(address, 10_000);
    expect(await standing()).toEqual({ [path(address)]: 'web' });
    book.update('shop/web/1', [container(address)]);
    book.release(address);
    await becomes({ [path(address)]: 'web' });
    book.update('shop/web/1', []);
    await becomes({});
  });

  it('writes again what somebody else removes or changes, and clears its own subnet, but no other', async () => {
    await put(path('10.77.1.9'), 'left-by-an-earlier-agent');
    const foreign = addressRecords.path({ subnet: '10.77.2.0/24', address: '10.77.2.4' });
    await put(foreign, 'theirs');
    book.subnet = parseCidr(subnet);
    book.update('shop/web/1', [container('10.77.1.4')]);
    book.complete();
    const right = { [path('10.77.1.4')]: 'web', [foreign]: 'theirs' };
    await becomes(right);
    await put(path('10.77.1.4'), 'forged');
    await becomes(right);
    await observer.commit([], [{ type: 'delete', key: path('10.77.1.4') }]);
    await becomes(right);
  });

  it('writes nothing before all containers are known, nor while its host may be lost', async () => {
    await put(path('10.77.1.9'), 'perhaps-still-there');
    licensed = false;
    book.subnet = parseCidr(subnet);
    book.update('shop/web/1', [container('10.77.1.4')]);
    book.complete();
    await writer.told('10.77.1.4', 100);
    expect(await standing()).toEqual({ [path('10.77.1.9')]: 'perhaps-still-there' });
    licensed = true;
    writer.changed();
    await becomes({ [path('10.77.1.4')]: 'web' });
  });
});
