/**
 * The network side of many agents, for the bench: each has a connection, watches and virtual IPs of its own, and a kernel that takes every
 * batch at once (what a real one takes is the matter of the part `traffic`).
 *
 *   agents-serve.ts ETCD-URL COUNT
 *
 * Prints `ready` when all have read everything, then `<revision> <milliseconds>` when the last of them has applied a revision. The
 * monotonic clock is the same for all processes of one machine.
 */
import { setMaxListeners } from 'node:events';
import { VirtualIpKeeper } from '../../src/agent/host/virtual-ip-keeper.ts';
import { ServiceFeed } from '../../src/agent/service-feed.ts';
import { parseCidr } from '../../src/network/address/cidr.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { silentLogger } from '../../src/telemetry/log.ts';
import { openTestStore } from '../../test/support/etcd-store.ts';

const [url = '', count = '1'] = process.argv.slice(2);
const agents = Number(count);
const reached = new Map<bigint, number>();
let ready = 0;

/** One agent has come from `before` to `now`: it has passed every revision in between. */
function advance(before: bigint, now: bigint): void {
  const at = Number(process.hrtime.bigint()) / 1e6;
  for (let revision = before + 1n; revision <= now; revision++) {
    const passed = (reached.get(revision) ?? 0) + 1;
    reached.set(revision, passed);
    if (passed === agents) {
      reached.delete(revision);
      process.stdout.write(`${revision} ${at}\n`);
    }
  }
}

const clock = systemClock;
const log = silentLogger;
const { signal } = new AbortController();
setMaxListeners(0, signal);
for (let i = 0; i < agents; i++) {
  const feed = new ServiceFeed({ store: await openTestStore(url), log, clock });
  let applied: bigint | undefined;
  const keeper = new VirtualIpKeeper({
    ...{ feed, clock, log },
    exec: () => Promise.resolve({ stdout: '', stderr: '' }),
    part: {
      applied: (revision) => {
        if (applied === undefined) {
          if (++ready === agents) process.stdout.write('ready\n');
        } else if (revision > applied) advance(applied, revision);
        applied = revision;
      },
    },
    network: parseCidr('10.77.0.0/16'),
    subnet: parseCidr(`10.77.${i}.0/24`),
    auditIntervalMs: 3_600_000,
    onProblem: () => undefined,
    onRepairs: () => undefined,
  });
  keeper.setPeers(parseCidr('10.77.0.0/16'), []);
  void feed.run(signal);
  void keeper.run(signal);
}
