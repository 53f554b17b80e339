import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  networkConfigPath,
  virtualRangePath,
  virtualRangeRecords,
} from '../../../src/registry/records/index.ts';
import { eventually } from '../../support/eventually.ts';
import { Members } from './members.ts';

describe.each([
  ['the default network config', { Type: 'vxlan' }],
  ['DirectRouting', { Type: 'vxlan', DirectRouting: true }],
])('isolation on the only host of a cluster, with %s', (_, Backend) => {
  const members = new Members('10.99.12', true);

  beforeAll(async () => {
    await members.start();
    const value = JSON.stringify({ Network: '10.77.0.0/16', Backend });
    const ranges = virtualRangeRecords.encode({ ranges: ['10.78.0.0/16'] });
    await members.store.commit(
      [],
      [
        { type: 'put', key: networkConfigPath, value },
        { type: 'put', key: virtualRangePath, value: ranges },
      ],
    );
  });

  afterAll(() => members.stop());

  it('is in force before there is anybody to keep apart', async () => {
    const alone = await members.join(0);
    members.own(alone, new Map());
    const rules = async (): Promise<string> =>
      (await alone.host.exec('nft', ['list', 'table', 'ip', 'nap'])).stdout;
    await eventually('the rules are there', async () =>
      /chain isolation-check/.test(await rules()),
    );
    expect(alone.problems.filter(({ key }) => key === 'isolation')).toEqual([]);
  });
});
