import { arch, endianness, platform } from 'node:os';
import { foreignFunctions } from '../foreign-functions.ts';

/** Memory that stays where it is, for good. */
export interface Memory {
  readonly at: bigint;
  readonly bytes: Buffer;
}

/** recvmmsg(2) and what goes with it, through a foreign function interface: Node has no way to them. */
export interface SocketCalls {
  socket(domain: number, type: number, protocol: number): number;
  bind(fd: number, address: Buffer, length: number): number;
  close(fd: number): number;
  recvmmsg(fd: number, messages: bigint, count: number, flags: number, timeout: null): number;
  sendmmsg(fd: number, messages: bigint, count: number, flags: number): number;
  errno(): number;
  allocate(bytes: number): Memory;
}

/**
 * Undefined on machines on which the kernel's structures are not those of 64 bits, the lowest byte first. Rejects when there is no
 * foreign function interface for this one.
 */
export async function loadSocketCalls(): Promise<SocketCalls | undefined> {
  if (platform() !== 'linux' || !arch().endsWith('64') || endianness() !== 'LE') return undefined;
  const koffi = await foreignFunctions();
  const c = koffi.load(null);
  return {
    socket: c.func('int socket(int, int, int)'),
    bind: c.func('int bind(int, void *, unsigned int)'),
    close: c.func('int close(int)'),
    recvmmsg: c.func('int recvmmsg(int, void *, unsigned int, int, void *)'),
    sendmmsg: c.func('int sendmmsg(int, void *, unsigned int, int)'),
    errno: () => koffi.errno(),
    allocate: (bytes) => {
      const at = koffi.alloc('uint8_t', bytes) as bigint;
      return { at, bytes: Buffer.from(koffi.view(at, bytes)) };
    },
  };
}
