/**
 * Runs inside a host of the box: asks the host's name server, once a millisecond, until it gives the address that a line on
 * standard input names, and prints when that was. The monotonic clock is the same for all hosts of one machine.
 *
 *   in:  <name> <address>        out: <milliseconds>
 */
import { createSocket } from 'node:dgram';
import { createInterface } from 'node:readline';
import { decode, encode } from 'dns-packet';

const server = process.argv[2] ?? '';
const socket = createSocket('udp4');
let wanted: { name: string; address: string } | undefined;
let id = 0;

socket.on('message', (message) => {
  const { answers = [] } = decode(message);
  if (!answers.some((answer) => answer.type === 'A' && answer.data === wanted?.address)) return;
  wanted = undefined;
  process.stdout.write(`${Number(process.hrtime.bigint()) / 1e6}\n`);
});
createInterface({ input: process.stdin })
  .on('line', (line) => {
    const [name = '', address = ''] = line.split(' ');
    wanted = { name, address };
  })
  // Whoever started it cannot kill it: it runs in a host's own process namespace.
  .on('close', () => {
    process.exit();
  });
setInterval(() => {
  if (wanted === undefined) return;
  id = (id + 1) % 65_536;
  socket.send(
    encode({ type: 'query', id, questions: [{ type: 'A', name: wanted.name }] }),
    53,
    server,
  );
}, 1);
