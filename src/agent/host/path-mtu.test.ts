import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../telemetry/log.ts';
import { VirtualClock } from '../../../test/support/virtual-clock.ts';
import { ExecError } from './exec.ts';
import { largestThatPasses, PathMtu } from './path-mtu.ts';

/** Paths by address: how many bytes each carries; 0: no answer at all. */
function probing(paths: Map<string, number>) {
  const clock = new VirtualClock();
  const problems = new Map<string, string>();
  const pinged: string[] = [];
  const probe = new PathMtu({
    exec: (command, args) => {
      expect(command).toBe('ping');
      const address = args.at(-1)!;
      const bytes = Number(args[args.indexOf('-s') + 1]) + 28;
      pinged.push(address);
      const passed = (paths.get(address) ?? 0) >= bytes;
      const stdout = `3 packets transmitted, ${passed ? 2 : 0} received, 33% packet loss\n`;
      return passed
        ? Promise.resolve({ stdout, stderr: '' })
        : Promise.reject(new ExecError('ping', { exitCode: 1, stdout }));
    },
    packetBytes: 1500,
    peers: () => [...paths.keys()],
    clock,
    log: silentLogger,
    onProblem: (key, message) => {
      if (message === undefined) problems.delete(key);
      else problems.set(key, message);
    },
  });
  return { clock, problems, pinged, probe };
}

describe('PathMtu', () => {
  it('tells what a narrow path carries and what to do, and takes it back when the path is mended', async () => {
    const paths = new Map([['10.0.0.2', 1400]]);
    const { clock, problems, probe } = probing(paths);
    await probe.step();
    expect([...problems]).toEqual([
      [
        'path to 10.0.0.2',
        expect.stringMatching(/carries packets of 1400 bytes at most.*"MTU": 1400/),
      ],
    ]);
    paths.set('10.0.0.2', 1500);
    await probe.step();
    expect(problems.size).toBe(1);
    await clock.advance(600_000);
    await probe.step();
    expect(problems.size).toBe(0);
  });

  it('says nothing of a host that answers no ping, and leaves what it has said', async () => {
    const paths = new Map([
      ['10.0.0.2', 0],
      ['10.0.0.3', 1280],
    ]);
    const { clock, problems, probe } = probing(paths);
    await probe.step();
    await probe.step();
    expect([...problems.keys()]).toEqual(['path to 10.0.0.3']);
    paths.set('10.0.0.3', 0);
    await clock.advance(600_000);
    await probe.step();
    await probe.step();
    expect([...problems.keys()]).toEqual(['path to 10.0.0.3']);
    paths.delete('10.0.0.3');
    await probe.step();
    expect(problems.size).toBe(0);
  });

  it('tries one path at a time, each in its turn', async () => {
    const paths = new Map([1, 2, 3].map((n) => [`10.0.0.${n}`, 1500] as const));
    const { clock, pinged, probe } = probing(paths);
    for (let n = 0; n < 5; n++) await probe.step();
    expect(pinged).toEqual(['10.0.0.1', '10.0.0.2', '10.0.0.3']);
    await clock.advance(600_000);
    for (let n = 0; n < 5; n++) await probe.step();
    expect(pinged.slice(3)).toEqual(['10.0.0.1', '10.0.0.2', '10.0.0.3']);
  });

  it('tries once where there is no ping, and does not end for that', async () => {
    const clock = new VirtualClock();
    let tries = 0;
    const probe = new PathMtu({
      exec: () => {
        tries++;
        return Promise.reject(new ExecError('ping', { notFound: true, why: 'not installed' }));
      },
      packetBytes: 1500,
      peers: () => ['10.0.0.2', '10.0.0.3'],
      clock,
      log: silentLogger,
      onProblem: () => undefined,
    });
    const controller = new AbortController();
    let hasEnded = false;
    const running = probe.run(controller.signal).then(() => {
      hasEnded = true;
    });
    await clock.advance(1_200_000);
    expect([tries, hasEnded]).toEqual([1, false]);
    controller.abort();
    await running;
  });
});

describe('largestThatPasses', () => {
  it('finds the limit', () =>
    fc.assert(
      fc.asyncProperty(fc.integer({ min: 576, max: 8999 }), async (limit) => {
        const passes = (bytes: number): Promise<boolean> => Promise.resolve(bytes <= limit);
        expect(await largestThatPasses(576, 9000, passes)).toBe(limit);
      }),
    ));
});
