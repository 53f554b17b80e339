import type koffi from 'koffi';

export type ForeignFunctions = typeof koffi;
export type ForeignFunction = ReturnType<ReturnType<typeof koffi.load>['func']>;

/**
 * Stack of a call that is made beside the main thread, in bytes: what a program has of its own (RLIMIT_STACK of Linux), which is what C
 * libraries are written for. libnftables puts messages of 64 KiB and a page on it; on the 128 KiB of koffi's own choice that leaves
 * little, and with pages of 64 KiB it writes over what lies below, silently. Pages that no call reaches cost nothing.
 */
const stackBytes = 8 * 1024 * 1024;

/** C functions called from JavaScript. Rejects where nap was built without, or the machine is another one. */
export async function foreignFunctions(): Promise<ForeignFunctions> {
  const { default: functions } = await import('koffi');
  const { async_stack_size: bytes } = functions.config();
  // Once a library is loaded, it refuses to be told.
  if (bytes !== stackBytes) functions.config({ async_stack_size: stackBytes });
  return functions;
}
