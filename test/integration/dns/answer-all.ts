/** A resolver that answers each question with the address given, or with SERVFAIL. Arguments: where to listen, what to answer. */
import dnsPacket from 'dns-packet';
import { createSocket } from 'node:dgram';

const [address = '', answer = ''] = process.argv.slice(2);
const socket = createSocket('udp4');
socket.on('message', (message, from) => {
  const { id = 0, questions = [] } = dnsPacket.decode(message);
  const name = questions[0]?.name ?? '';
  const failed = answer === 'SERVFAIL';
  const reply = dnsPacket.encode({
    type: 'response',
    id,
    flags: 0x0180 | (failed ? 2 : 0),
    questions,
    answers: failed ? [] : [{ type: 'A', name, ttl: 60, data: answer }],
  });
  socket.send(reply, from.port, from.address);
});
socket.bind(53, address);
