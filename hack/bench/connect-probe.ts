/**
 * Runs inside a host: connects every few milliseconds until standard input ends, and prints when the outcome changes. The monotonic
 * clock is the same for all hosts of one machine.
 *
 *   connect-probe.ts ADDRESS PORT       out: connected|refused|unanswered <milliseconds>
 */
import { connect } from 'node:net';

const [address = '', port = ''] = process.argv.slice(2);
/** Busier, and it would measure itself. */
const pauseMs = 5;
const patienceMs = 200;
let last = '';

function say(outcome: string): void {
  if (outcome !== last) console.log(outcome, Number(process.hrtime.bigint()) / 1e6);
  last = outcome;
  setTimeout(next, pauseMs);
}

function next(): void {
  const socket = connect(Number(port), address);
  // One that gets no answer must not be the last.
  socket.setTimeout(patienceMs, () => socket.destroy(new Error('no answer')));
  socket
    .once('connect', () => {
      socket.resetAndDestroy();
      say('connected');
    })
    .once('error', (error: NodeJS.ErrnoException) => {
      say(error.code === 'ECONNREFUSED' ? 'refused' : 'unanswered');
    });
}

process.stdin.resume().once('end', () => {
  process.exit();
});
next();
