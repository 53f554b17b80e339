import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  networkConfigPath,
  virtualRangePath,
  virtualRangeRecords,
} from '../../../src/registry/records/index.ts';
import { eventually } from '../../support/eventually.ts';
import type { TestContainer, TestHost } from '../../support/netns.ts';
import { Members, type Member } from './members.ts';

const members = new Members('10.99.13', true);
let member: Member;
let instance: TestContainer;
let outside: TestHost;

const outsideOf = (host: TestHost): string => `fd99::${host.address.split('.').at(-1) ?? ''}`;

const reaches = (from: Pick<TestHost, 'exec'>, to: string): Promise<boolean> =>
  from.exec('ping', ['-6', '-c1', '-W0.8', to]).then(
    () => true,
    () => false,
  );

async function addHost(): Promise<TestHost> {
  const host = await members.network.addHost();
  await host.exec('ip', ['addr', 'add', `${outsideOf(host)}/64`, 'dev', 'eth0', 'nodad']);
  return host;
}

beforeAll(async () => {
  await members.start();
  const config = {
    ...{ Network: '10.77.0.0/16', EnableIPv6: true, IPv6Network: 'fd00:77::/64' },
    Backend: { Type: 'vxlan' },
  };
  const ranges = virtualRangeRecords.encode({ ranges: ['10.78.0.0/16'] });
  await members.store.commit(
    [],
    [
      { type: 'put', key: networkConfigPath, value: JSON.stringify(config) },
      { type: 'put', key: virtualRangePath, value: ranges },
    ],
  );
  const host = await addHost();
  // As a dockerd that leaves ip6tables alone has it after a reboot.
  await host.exec('sysctl', ['-qw', 'net/ipv6/conf/all/forwarding=1']);
  member = await members.join(1, host);
  await host.exec('ip6tables', ['-P', 'FORWARD', 'ACCEPT']);
  [instance] = member.containers as [TestContainer];
  outside = await addHost();
  await members.putService('web', {});
  members.own(member, new Map([[instance, 'web']]));
  await member.manager.audit();
});

afterAll(() => members.stop());

it('lets nobody in from outside of the overlay, whoever has the host pass IPv6 on', async () => {
  await eventually('the host reaches it', () => reaches(member.host, instance.ipv6));
  await eventually('it reaches the outside', () => reaches(instance, outsideOf(outside)));
  await outside.exec('ip', ['route', 'add', instance.ipv6, 'via', outsideOf(member.host)]);
  expect(await reaches(outside, instance.ipv6)).toBe(false);
  // That it was the filter that stopped it, and the way is right.
  await member.host.exec('ip6tables', ['-I', 'FORWARD', '-o', 'nap0', '-j', 'ACCEPT']);
  expect(await reaches(outside, instance.ipv6)).toBe(true);
});
