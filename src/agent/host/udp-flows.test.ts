import { describe, expect, it } from 'vitest';
import { ExecError, type Exec } from './exec.ts';
import { forgetFlows } from './udp-flows.ts';

const listing = `
udp      17 29 src=10.77.1.3 dst=10.78.0.1 sport=4000 dport=53 src=10.77.2.2 dst=10.77.1.3 sport=53 dport=4000 mark=0 use=1
udp      17 29 src=10.77.1.3 dst=10.78.0.1 sport=4001 dport=53 src=10.77.2.2 dst=10.77.1.3 sport=53 dport=4001 [ASSURED] mark=0 use=1
udp      17 12 src=10.77.1.4 dst=10.78.0.1 sport=4000 dport=53 [UNREPLIED] src=10.77.3.2 dst=10.77.1.4 sport=53 dport=4000 mark=0 use=1
udp      17 12 src=10.77.1.4 dst=10.78.0.2 sport=4000 dport=53 src=10.77.4.2 dst=10.77.1.4 sport=53 dport=4000 mark=0 use=1
something else
`;

describe('UDP flows', () => {
  it('that lead to an endpoint that is gone are forgotten together, and no others', async () => {
    const deleted: string[] = [];
    const exec: Exec = (_, args) => {
      if (args[0] === '-L') return Promise.resolve({ stdout: listing, stderr: '' });
      deleted.push(args.slice(args.indexOf('--orig-dst')).join(' '));
      // The last one has ended meanwhile.
      return deleted.length === 2
        ? Promise.reject(new ExecError('conntrack -D', { exitCode: 1 }))
        : Promise.resolve({ stdout: '', stderr: '' });
    };
    const gone = new Set(['10.77.2.2', '10.77.3.2']);
    const count = await forgetFlows(exec, ['--orig-dst', '10.78.0.0/16'], ({ endpoint }) =>
      gone.has(endpoint),
    );
    expect(count).toBe(3);
    expect(deleted).toEqual([
      '--orig-dst 10.78.0.1 --reply-src 10.77.2.2',
      '--orig-dst 10.78.0.1 --reply-src 10.77.3.2',
    ]);
  });
});
