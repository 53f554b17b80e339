import { Semaphore } from '../semaphore.ts';
import { ExecError, type Exec } from './exec.ts';

/** Carries out a script in one transaction; false: it was refused, and nothing has changed. */
type RunScript = (script: string) => Promise<boolean>;

/** Versions of the library have had the same name since nftables 0.9.1. */
const libraryName = 'libnftables.so.1';

/**
 * As `exec`, but scripts for `nft -f -` are carried out within this process, by the library of which the program nft is a thin
 * cover, where there is one: starting the program takes a forty times as much of the processor as a change of a few elements
 * does. What is read goes on through the program: a listing meets everybody's rules, and the library ends its process when it cannot
 * make sense of one. What the library refuses, the program is asked for, too: it names the line that is wrong.
 *
 * For the network that this process is in. A script that has begun is not broken off.
 */
export function nftInProcess(exec: Exec): Exec {
  // The library keeps what it has read of the kernel, and is not made for calls that overlap.
  const turns = new Semaphore(1);
  let run: Promise<RunScript | undefined> | undefined;
  return async (command, args, options = {}, signal) => {
    if (command !== 'nft' || args.join(' ') !== '-f -') return exec(command, args, options, signal);
    if (run === undefined) {
      // Without a kernel that takes it, the library would end the process.
      const result = await exec(command, args, options, signal);
      run = loadLibrary().catch(() => undefined);
      return result;
    }
    const script = await run;
    if (script === undefined) return exec(command, args, options, signal);
    const done = await turns.run(async () => {
      if (signal?.aborted === true) {
        throw new ExecError('nft -f -', { why: 'cancelled', cancelled: true });
      }
      return script(options.input ?? '');
    });
    return done ? { stdout: '', stderr: '' } : exec(command, args, options, signal);
  };
}

/** Rejects when the library, or a way to it, is not there. */
async function loadLibrary(): Promise<RunScript> {
  const { default: koffi } = await import('koffi');
  const library = koffi.load(libraryName);
  const create = library.func('void *nft_ctx_new(uint32_t)');
  const bufferOutput = library.func('int nft_ctx_buffer_output(void *)');
  const bufferError = library.func('int nft_ctx_buffer_error(void *)');
  const takeOutput = library.func('const char *nft_ctx_get_output_buffer(void *)');
  const takeError = library.func('const char *nft_ctx_get_error_buffer(void *)');
  const runScript = library.func('int nft_run_cmd_from_buffer(void *, const char *)');
  const context: unknown = create(0);
  bufferOutput(context);
  bufferError(context);
  return (script) =>
    new Promise((resolve, reject) => {
      runScript.async(context, script, (error: Error | null, status: number) => {
        // Taking them empties them.
        takeOutput(context);
        takeError(context);
        if (error === null) resolve(status === 0);
        else reject(error);
      });
    });
}
