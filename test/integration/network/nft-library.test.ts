import { execPath } from 'node:process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { TestNetwork, type TestHost } from '../../support/netns.ts';

const network = new TestNetwork({ prefix: '10.99.9' });
let host: TestHost;

beforeAll(async () => {
  await network.start();
  host = await network.addHost();
});
afterAll(() => network.stop());

const outcomes = z.object({
  /** Of each script; the empty string when it was carried out. */
  said: z.array(z.string()),
  /** How often the program was started. */
  started: z.number(),
  /** Megabytes that the process has grown by. */
  grown: z.number(),
});

/** What a process on `host` does: JavaScript that calls `nft(script)` and `program(...args)`. */
async function onHost(code: string): Promise<z.infer<typeof outcomes>> {
  const source = (path: string): string =>
    JSON.stringify(new URL(`../../../src/${path}`, import.meta.url).pathname);
  const script = `
    const { hostExec } = await import(${source('agent/host/exec.ts')});
    const { silentLogger: log } = await import(${source('telemetry/log.ts')});
    const { nftInProcess } = await import(${source('agent/host/nft-library.ts')});
    let started = 0, grown = 0;
    const said = [];
    const program = (...args) => hostExec()('nft', args);
    const exec = nftInProcess((...args) => { started++; return hostExec()(...args); }, { log });
    const nft = (input) => exec('nft', ['-f', '-'], { input }).then(() => said.push(''), (e) => said.push(e.message));
    await nft('add table ip nap\\nadd set ip nap s { type ipv4_addr; }\\n');
    ${code}
    console.log(JSON.stringify({ said, started, grown }));
    process.exit();`;
  const args = ['--expose-gc', '--import', 'tsx', '--input-type=module', '-e', script];
  const { stdout } = await host.exec(execPath, args, { timeoutMs: 60_000 });
  return outcomes.parse(JSON.parse(stdout));
}

async function elements(): Promise<string[]> {
  const { stdout } = await host.exec('nft', ['list', 'set', 'ip', 'nap', 's']);
  return (/elements = \{([^}]*)\}/.exec(stdout)?.[1] ?? '')
    .split(',')
    .map((e) => e.trim())
    .filter((e) => e !== '')
    .sort();
}

describe('scripts for nft', () => {
  it('start the program once, and are all carried out in order', async () => {
    const { said, started } = await onHost(`
      await Promise.all([
        nft('add element ip nap s { 10.0.0.1 }\\n'),
        nft('add element ip nap s { 10.0.0.2 }\\ndelete element ip nap s { 10.0.0.1 }\\n'),
        nft('add element ip nap s { 10.0.0.3 }\\n'),
      ]);`);
    expect(said).toEqual(['', '', '', '']);
    expect(started).toBe(1);
    expect(await elements()).toEqual(['10.0.0.2', '10.0.0.3']);
  });

  it('change nothing when one line of them is wrong, and say which, as the program does', async () => {
    const { said } = await onHost(`
      await nft('add element ip nap s { 10.1.0.1 }\\nadd element ip nap absent { 10.1.0.2 }\\n');
      await nft('no sense\\n');
      await nft('delete element ip nap s { 10.1.0.9 }\\n');
      await nft('add element ip nap s { 10.1.0.3 }\\n');`);
    expect(said[1]).toMatch(
      /`nft -f -`: exit status 1: .*:2:.*No such file or directory[^]*absent/,
    );
    expect(said[2]).toMatch(/syntax error/);
    expect(said[3]).toMatch(/No such file or directory/);
    expect(said[4]).toBe('');
    expect(await elements()).not.toContain('10.1.0.1');
    expect(await elements()).toContain('10.1.0.3');
  });

  it('meet what others have changed meanwhile', async () => {
    const { said } = await onHost(`
      await nft('add element ip nap s { 10.2.0.1 }\\n');
      await program('delete', 'table', 'ip', 'nap');
      await nft('add element ip nap s { 10.2.0.2 }\\n');
      await program('add', 'table', 'ip', 'nap');
      await nft('add map ip nap s { type ipv4_addr : ipv4_addr; }\\nadd element ip nap s { 10.2.0.3 : 10.2.0.4 }\\n');
      await program('delete', 'table', 'ip', 'nap');
      await nft('add table ip nap\\nadd set ip nap s { type ipv4_addr; }\\nadd element ip nap s { 10.2.0.5 }\\n');`);
    expect(said.map((line) => line === '')).toEqual([true, true, false, true, true]);
    expect(await elements()).toEqual(['10.2.0.5']);
  });

  it('leave no memory behind', async () => {
    const { said, grown } = await onHost(`
      const change = async (n) => {
        for (let i = 0; i < n; i++) {
          await nft('add element ip nap s { 10.3.0.1 }\\n');
          await nft('add element ip nap s { 10.3.0.2, 10.3.0.3 }\\n');
        }
        said.length = 0;
        gc();
        const { rss, heapTotal } = process.memoryUsage();
        return (rss - heapTotal) / 1e6;
      };
      const before = await change(2_000);
      grown = (await change(10_000)) - before;`);
    expect(said).toEqual([]);
    // Were it 4 KB a script, it would be 80 MB.
    expect(grown).toBeLessThan(40);
  });

  it('give the memory back that it takes to read long lists of others', async () => {
    const { said, started, grown } = await onHost(`
      const change = async (third) => {
        for (let i = 0; i < 12; i++) await nft(\`add element ip nap s { 10.4.\${third}.\${i} }\\n\`);
        gc();
        const { rss, heapTotal } = process.memoryUsage();
        return (rss - heapTotal) / 1e6;
      };
      const ranges = Array.from({ length: 40_000 }, (_, i) => \`11.\${i >> 8}.\${i & 255}.0/28\`);
      await nft(\`
        add table inet others
        add set inet others s { type ipv4_addr; flags interval; }
        add element inet others s { \${ranges.slice(0, 10).join(', ')} }\\n\`);
      const before = await change(1);
      await nft(\`add element inet others s { \${ranges.slice(10).join(', ')} }\\n\`);
      grown = (await change(2)) - before;
      await program('delete', 'table', 'inet', 'others');`);
    expect(said.every((line) => line === '')).toBe(true);
    // The first script, and the long one.
    expect(started).toBe(2);
    // What the list needs, each thread that has read it would keep: 200 MB in all.
    expect(grown).toBeLessThan(60);
  });
});
