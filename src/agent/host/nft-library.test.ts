import { describe, expect, it } from 'vitest';
import { VirtualClock } from '../../../test/support/virtual-clock.ts';
import { silentLogger } from '../../telemetry/log.ts';
import type { Exec } from './exec.ts';
import { nftInProcess, type RunScript } from './nft-library.ts';

type Nft = (script: string, signal?: AbortSignal) => Promise<unknown>;

interface Setup {
  readonly nft: Nft;
  /** Scripts that the program has got, and the library. */
  readonly program: string[];
  readonly library: string[];
  readonly clock: VirtualClock;
  readonly loads: () => number;
}

function setUp(run: RunScript, load: () => void = () => undefined): Setup {
  const program: string[] = [];
  const library: string[] = [];
  const clock = new VirtualClock();
  let loads = 0;
  const exec: Exec = async (_command, _args, options) => {
    program.push(options?.input ?? '');
    return { stdout: '', stderr: '' };
  };
  const loadLibrary = async (): Promise<RunScript> => {
    loads++;
    load();
    return (script) => {
      library.push(script);
      return run(script);
    };
  };
  const inProcess = nftInProcess(exec, { load: loadLibrary, clock, log: silentLogger });
  return {
    nft: (input, signal) => inProcess('nft', ['-f', '-'], { input, timeoutMs: 1_000 }, signal),
    ...{ program, library, clock, loads: () => loads },
  };
}

const accept: RunScript = async () => true;

describe('scripts for nft', () => {
  it('go to the program first, then to a library that is loaded once', async () => {
    const { nft, program, library, loads } = setUp(accept);
    await Promise.all([nft('a'), nft('b')]);
    await nft('c');
    expect({ program, library }).toEqual({ program: ['a', 'b'], library: ['c'] });
    expect(loads()).toBe(1);
  });

  it('go to the program where there is no library', async () => {
    const { nft, program, loads } = setUp(accept, () => {
      throw new Error('libnftables.so.1: cannot open shared object file');
    });
    for (const script of ['a', 'b', 'c']) await nft(script);
    expect(program).toEqual(['a', 'b', 'c']);
    expect(loads()).toBe(1);
  });

  it('go to the program when they are long, or the library refuses them', async () => {
    const { nft, program, library } = setUp(async (script) => {
      if (script === 'too much') throw new Error('EMFILE: too many open files');
      return script !== 'wrong';
    });
    await nft('first');
    const long = 'x'.repeat(200_000);
    for (const script of ['short', long, 'wrong', 'too much']) await nft(script);
    expect(library).toEqual(['short', 'wrong', 'too much']);
    expect(program).toEqual(['first', long, 'wrong', 'too much']);
  });

  it('that were cancelled while others were carried out are not begun', async () => {
    let finish = (): void => undefined;
    const finished = new Promise<boolean>((resolve) => {
      finish = () => {
        resolve(true);
      };
    });
    const { nft, library } = setUp(() => finished);
    await nft('first');
    const stop = new AbortController();
    const running = nft('running');
    const waiting = nft('waiting', stop.signal);
    stop.abort();
    finish();
    await running;
    await expect(waiting).rejects.toMatchObject({ name: 'ExecError', cancelled: true });
    expect(library).toEqual(['running']);
  });
});

describe('a library that does not come to an end', () => {
  it('is given up, and holds up no other script', async () => {
    const { nft, program, library, clock } = setUp(() => new Promise(() => undefined));
    await nft('first');
    const stuck = nft('stuck');
    const waiting = nft('waiting');
    const failure = expect(stuck).rejects.toThrow('`nft -f -`: no end after 1000 ms');
    await clock.advance(999);
    expect(program).toEqual(['first']);
    await clock.advance(1);
    await failure;
    await waiting;
    await nft('last');
    expect(library).toEqual(['stuck']);
    expect(program).toEqual(['first', 'waiting', 'last']);
  });
});
