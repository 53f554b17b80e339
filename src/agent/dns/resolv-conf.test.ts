import { describe, expect, it } from 'vitest';
import { VirtualClock } from '../../../test/support/virtual-clock.ts';
import { parseResolvConf, resolvConfUpstreams } from './resolv-conf.ts';

describe('the host’s resolvers', () => {
  it('are those of resolv.conf, but never this server itself', () => {
    const text = [
      '# nameserver 9.9.9.9',
      'search lan',
      'nameserver 10.77.1.1',
      '  nameserver   192.0.2.53 ',
      'nameserver fe80::1%eth0',
      'nameserver resolver.example',
      'nameserver 2001:db8::53',
      'nameserver 192.0.2.54',
    ].join('\n');
    expect(parseResolvConf(text, (a) => a === '10.77.1.1').map((u) => u.address)).toEqual([
      '192.0.2.53',
      'fe80::1%eth0',
      '2001:db8::53',
    ]);
  });

  it('follow the file within seconds, and survive its absence', async () => {
    const clock = new VirtualClock();
    let text: string | undefined = 'nameserver 192.0.2.1';
    const read = async (): Promise<string> => {
      if (text === undefined) throw new Error('ENOENT');
      return text;
    };
    const upstreams = resolvConfUpstreams(read, () => false, clock);
    expect(await upstreams()).toMatchObject([{ address: '192.0.2.1' }]);
    text = 'nameserver 192.0.2.2';
    await clock.advance(5_000);
    expect(await upstreams()).toMatchObject([{ address: '192.0.2.2' }]);
    text = undefined;
    await clock.advance(5_000);
    expect(await upstreams()).toMatchObject([{ address: '192.0.2.2' }]);
  });
});
