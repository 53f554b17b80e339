/** DNS over TCP puts a length of two bytes before each message (RFC 1035, 4.2.2). */
export function frame(message: Buffer): Buffer {
  const framed = Buffer.allocUnsafe(message.length + 2);
  framed.writeUInt16BE(message.length, 0);
  message.copy(framed, 2);
  return framed;
}

/** Cuts a stream into messages, which may be as long as their two bytes can say. Each byte is copied once at most. */
export class FrameReader {
  #chunks: Buffer[] = [];
  #bytes = 0;
  /** Bytes that make the next message whole, with its length; 2 while that is not known. */
  #wanted = 2;

  /** The messages that `chunk` completes. */
  push(chunk: Buffer): readonly Buffer[] {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    const messages: Buffer[] = [];
    while (this.#bytes >= this.#wanted) {
      const all = this.#join();
      this.#wanted = 2 + all.readUInt16BE(0);
      if (all.length < this.#wanted) break;
      messages.push(all.subarray(2, this.#wanted));
      this.#chunks = [all.subarray(this.#wanted)];
      this.#bytes -= this.#wanted;
      this.#wanted = 2;
    }
    return messages;
  }

  #join(): Buffer {
    const [first = Buffer.alloc(0)] = this.#chunks;
    const all = this.#chunks.length === 1 ? first : Buffer.concat(this.#chunks);
    this.#chunks = [all];
    return all;
  }
}
