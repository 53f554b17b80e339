import { getSystemErrorName } from 'node:util';
import { formatIpv4, parseIpv4 } from '../../network/address/cidr.ts';
import { loadSocketCalls, type Memory, type SocketCalls } from './socket-calls.ts';

/**
 * Answers a datagram from `source` in place: writes the answer to the start of `reply` and returns its length; 0 = there is none
 * now. `datagram` and `reply` are used again afterwards: what is wanted for longer has to be copied.
 */
export type AnswerInPlace = (
  datagram: Buffer,
  source: string,
  port: number,
  reply: Buffer,
) => number;

/** A UDP socket from which, and to which, many datagrams go with one system call. */
export interface UdpBurst {
  /** Of the socket, bound, for node:dgram to own. */
  readonly fd: number;
  /** Takes what waits, at most `burstSize` datagrams, and sends the answers. Not after the socket was closed. */
  drain(answer: AnswerInPlace): void;
}

/** Datagrams that are taken at once. */
export const burstSize = 32;
/** Room for any datagram; pages that none reaches cost nothing. */
const datagramBytes = 65_536;
const replyBytes = 2_048;
/** Texts of addresses that are remembered. */
const maxTexts = 4_096;

/** Linux's numbers, include/linux/socket.h and include/linux/net.h. */
const addressFamilyInet = 2;
const datagramNonBlockingCloseOnExec = 2 | 0x800 | 0x80000;
const messageDontWait = 0x40;

/** Bytes of struct sockaddr_in: the family, then the port and the address with the highest byte first. */
const socketAddress = { bytes: 16, port: 2, address: 4 };
/** Bytes of struct iovec with 64-bit pointers. */
const ioVector = { bytes: 16, base: 0, length: 8 };
/** Bytes of struct mmsghdr with 64-bit pointers: a struct msghdr (recvmsg(2)), then the number of bytes that it has carried. */
const message = { bytes: 64, name: 0, nameLength: 8, vectors: 16, vectorCount: 24, carried: 56 };

/** A row of messages that the kernel reads or writes at once, each with room for an address and for `bytesEach` bytes. */
class Row {
  readonly #headers: Memory;
  readonly #addresses: Memory;
  readonly #vectors: Memory;
  readonly data: readonly Buffer[];

  constructor(calls: SocketCalls, bytesEach: number) {
    this.#headers = calls.allocate(message.bytes * burstSize);
    this.#addresses = calls.allocate(socketAddress.bytes * burstSize);
    this.#vectors = calls.allocate(ioVector.bytes * burstSize);
    const data = calls.allocate(bytesEach * burstSize);
    const header = this.#headers.bytes.fill(0);
    const vector = this.#vectors.bytes;
    for (let i = 0; i < burstSize; i++) {
      const at = message.bytes * i;
      const [name, vectors, base] = [
        this.#addresses.at + BigInt(socketAddress.bytes * i),
        this.#vectors.at + BigInt(ioVector.bytes * i),
        data.at + BigInt(bytesEach * i),
      ];
      header.writeBigUInt64LE(name, at + message.name);
      header.writeUInt32LE(socketAddress.bytes, at + message.nameLength);
      header.writeBigUInt64LE(vectors, at + message.vectors);
      header.writeBigUInt64LE(1n, at + message.vectorCount);
      vector.writeBigUInt64LE(base, ioVector.bytes * i + ioVector.base);
      vector.writeBigUInt64LE(BigInt(bytesEach), ioVector.bytes * i + ioVector.length);
    }
    this.data = Array.from({ length: burstSize }, (_, i) =>
      data.bytes.subarray(bytesEach * i, bytesEach * (i + 1)),
    );
  }

  /** Where the messages from the `i`th on lie. */
  from(i: number): bigint {
    return i === 0 ? this.#headers.at : this.#headers.at + BigInt(message.bytes * i);
  }

  /** Bytes of the `i`th that have come. */
  carried(i: number): number {
    return this.#headers.bytes.readUInt32LE(message.bytes * i + message.carried);
  }

  port(i: number): number {
    return this.#addresses.bytes.readUInt16BE(socketAddress.bytes * i + socketAddress.port);
  }

  address(i: number): number {
    return this.#addresses.bytes.readUInt32BE(socketAddress.bytes * i + socketAddress.address);
  }

  /** Makes the `i`th one of `length` bytes to the sender of the `j`th of `others`. */
  addressTo(i: number, length: number, others: Row, j: number): void {
    const at = socketAddress.bytes * j;
    others.#addresses.bytes.copy(
      this.#addresses.bytes,
      socketAddress.bytes * i,
      at,
      at + socketAddress.bytes,
    );
    this.#vectors.bytes.writeUInt32LE(length, ioVector.bytes * i + ioVector.length);
  }
}

/** Opens such sockets. They use the same memory in turn: nothing waits between the call that receives and the one that sends. */
export class UdpBursts {
  readonly #calls: SocketCalls;
  readonly #received: Row;
  readonly #replies: Row;
  readonly #texts = new Map<number, string>();

  constructor(calls: SocketCalls) {
    this.#calls = calls;
    this.#received = new Row(calls, datagramBytes);
    this.#replies = new Row(calls, replyBytes);
  }

  /** Binds a socket. Throws what socket(2) or bind(2) say, as Node words it. */
  open(address: string, port: number): UdpBurst {
    const calls = this.#calls;
    const name = Buffer.alloc(socketAddress.bytes);
    name.writeUInt16LE(addressFamilyInet, 0);
    name.writeUInt16BE(port, socketAddress.port);
    name.writeUInt32BE(parseIpv4(address), socketAddress.address);
    const fd = calls.socket(addressFamilyInet, datagramNonBlockingCloseOnExec, 0);
    if (fd < 0) throw systemError('socket', calls.errno());
    if (calls.bind(fd, name, name.length) < 0) {
      const number = calls.errno();
      calls.close(fd);
      throw systemError('bind', number, `${address}:${port}`);
    }
    return {
      fd,
      drain: (answer) => {
        this.#drain(fd, answer);
      },
    };
  }

  #drain(fd: number, answer: AnswerInPlace): void {
    const received = this.#received;
    const replies = this.#replies;
    // What goes wrong with the socket itself, the one who owns it hears of.
    const count = this.#calls.recvmmsg(fd, received.from(0), burstSize, messageDontWait, null);
    let answers = 0;
    for (let i = 0; i < count; i++) {
      const datagram = received.data[i]?.subarray(0, received.carried(i));
      const reply = replies.data[answers];
      if (datagram === undefined || reply === undefined) continue;
      const length = answer(datagram, this.#text(received.address(i)), received.port(i), reply);
      // Beyond its place lie answers to others: rather none than one of those.
      if (length > 0 && length <= reply.length) replies.addressTo(answers++, length, received, i);
    }
    for (let sent = 0; sent < answers;) {
      const more = this.#calls.sendmmsg(fd, replies.from(sent), answers - sent, messageDontWait);
      // The first could not be sent: lost, as datagrams are. It must not hold up the others.
      sent += Math.max(1, more);
    }
  }

  #text(address: number): string {
    let text = this.#texts.get(address);
    if (text === undefined) {
      if (this.#texts.size >= maxTexts) this.#texts.clear();
      text = formatIpv4(address);
      this.#texts.set(address, text);
    }
    return text;
  }
}

let shared: Promise<UdpBursts | undefined> | undefined;

/**
 * For all sockets of this process. Undefined where the machine, or the way nap was built for it, has no such calls: node:dgram then
 * does the same, one datagram a call.
 */
export function udpBursts(): Promise<UdpBursts | undefined> {
  shared ??= loadSocketCalls().then(
    (calls) => calls && new UdpBursts(calls),
    () => undefined,
  );
  return shared;
}

/** As Node words it. */
function systemError(call: string, number: number, what = ''): NodeJS.ErrnoException {
  const code = getSystemErrorName(-number);
  return Object.assign(new Error(`${call} ${code} ${what}`.trim()), { code, syscall: call });
}
