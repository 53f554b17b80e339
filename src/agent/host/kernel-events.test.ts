import { describe, expect, it } from 'vitest';
import { kernelHints } from './kernel-events.ts';

const hintOf = kernelHints(['nap.1', 'nap-wg'], 'nap0');

describe('kernelHints', () => {
  it.each([
    [
      'Deleted 7: nap.1: <BROADCAST,MULTICAST> mtu 1450 qdisc noop state DOWN group default',
      'audit',
    ],
    ['7: nap.1: <BROADCAST,MULTICAST> mtu 1450 qdisc noqueue state DOWN group default', 'audit'],
    [
      'Deleted 6: nap-wg: <POINTOPOINT,NOARP> mtu 1440 qdisc noop state DOWN group default',
      'audit',
    ],
    ['Deleted 10.77.3.0/24 via 10.77.3.0 dev nap.1 onlink', 'audit'],
    ['Deleted 7: nap.1    inet 10.77.1.0/32 scope global nap.1\\  valid_lft forever', 'audit'],
    ['9: nap0: <NO-CARRIER,BROADCAST,MULTICAST> mtu 1450 qdisc noqueue state DOWN', 'audit'],
    ['9: nap0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450 qdisc noqueue state UP', 'audit'],
    ['12: veth1@if11: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450 master nap0 state UP', 'ports'],
    ['Deleted 12: veth1@if11: <BROADCAST,MULTICAST> mtu 1450 master nap0 state DOWN', 'ports'],
    ['7: nap.1: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450 qdisc noqueue', undefined],
    ['Deleted 8: nap11: <BROADCAST,MULTICAST> mtu 1450 qdisc noop state DOWN', undefined],
    ['Deleted 10.1.0.0/24 dev docker0 proto kernel scope link', undefined],
    ['2: eth0: <BROADCAST,MULTICAST> mtu 1500 qdisc noop state DOWN', undefined],
    ['Deleted 10.77.3.0 dev nap.1 FAILED ', 'audit'],
    ['Deleted 10.77.1.250 dev nap0 lladdr 02:42:0a:4d:01:fa STALE', undefined],
    ['Deleted 10.77.1.250 dev nap0 FAILED ', undefined],
  ])('%s', (line, hint) => {
    expect(hintOf(line)).toBe(hint);
  });
});
