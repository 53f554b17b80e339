/**
 * Runs inside a host's or a container's network: answers each HTTP request with a few bytes, until standard input ends. It does as
 * little as it can, since the way to it is what is measured.
 *
 *   http-answers.ts PORT
 */
import { createServer } from 'node:net';

const answer = 'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nok\n';
const headEnd = '\r\n\r\n';

createServer({ noDelay: true }, (socket) => {
  let unread = '';
  socket
    .setEncoding('latin1')
    .on('data', (text: string) => {
      // Requests without a body.
      const heads = (unread + text).split(headEnd);
      unread = heads.pop() ?? '';
      if (heads.length > 0) socket.write(answer.repeat(heads.length));
    })
    // Clients reset connections that they are done with.
    .on('error', () => undefined);
}).listen(Number(process.argv[2]), '0.0.0.0', 4096);
process.stdin.resume().once('end', () => {
  process.exit();
});
