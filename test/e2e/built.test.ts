import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { box, hosts } from './harness.ts';

/** What nap can also do without, and more slowly: a build that forgets it works all the same. */
describe('the built program', () => {
  test('takes many questions about names with one system call', async () => {
    for (const host of hosts) {
      const log = await readFile(box.agentLog(host), 'utf8');
      const lines = log.split('\n').filter((line) => line.includes('answering names'));
      expect(lines.at(-1)).toContain('"atOnce":32');
    }
  });

  test('changes nftables by the library, not by starting a program', async () => {
    for (const host of hosts) {
      const maps = `cat /proc/$(pgrep -f 'nap[.]js agent' | head -n 1)/maps`;
      expect((await box.sh(host, ['sh', '-c', maps])).stdout).toContain('libnftables');
    }
  });
});
