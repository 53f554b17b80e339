import { closeSync, openSync } from 'node:fs';
import { memoryUsage } from 'node:process';
import { systemClock, type Clock } from '../../runtime/clock.ts';
import { asError } from '../../runtime/errors.ts';
import type { Logger } from '../../telemetry/log.ts';
import {
  foreignFunctions,
  type ForeignFunction,
  type ForeignFunctions,
} from '../foreign-functions.ts';
import { Semaphore } from '../semaphore.ts';
import { defaultTimeoutMs, ExecError, type Exec } from './exec.ts';

/** Carries out a script in one transaction; false, or rejects: nothing has changed. Calls must not overlap. */
export type RunScript = (script: string) => Promise<boolean>;

export interface NftInProcessOptions {
  readonly log: Logger;
  /** Default: libnftables. */
  readonly load?: () => Promise<RunScript>;
  /** Default: the machine's clock. */
  readonly clock?: Clock;
}

/** Versions of the library have had the same name since nftables 0.9.1. */
const libraryName = 'libnftables.so.1';
/**
 * Length of the longest script for the library, some thousands of elements. Beside what a longer one takes, to start the program is
 * nothing, and its memory, a kilobyte an element, goes back to the machine: what the library was given, the process would keep.
 */
const maxLength = 100_000;
/**
 * Growth of the process, in bytes, of which the C library is told to give back what is free. To change any element, nft reads all
 * elements of all sets of intervals on the host, which may be long lists of addresses that somebody has blocked.
 */
const trimBytes = 16 * 1024 * 1024;
const line = 'nft -f -';

/**
 * As `exec`, but scripts for `nft -f -` are carried out within this process, by the library of which the program nft is a thin
 * cover, where there is one: starting the program takes forty times as much of the processor as a change of a few elements
 * does. Long scripts and what is read go on through the program: a listing meets everybody's rules, and the library ends its process
 * when it cannot make sense of one. What the library refuses, the program is asked for, too: it names the line that is wrong.
 *
 * For the network that this process is in. A script that has begun is not broken off: when it takes too long, its outcome is unknown,
 * and the library is given up.
 *
 * @param load rejects when the library, or a way to it, is not there
 */
export function nftInProcess(
  exec: Exec,
  { log, load = loadLibrary, clock = systemClock }: NftInProcessOptions,
): Exec {
  const turns = new Semaphore(1);
  let library: Promise<RunScript | undefined> | undefined;

  const runInTurn = async (script: string, timeoutMs: number): Promise<boolean> => {
    const run = await library;
    if (run === undefined) return false;
    const done = await within(
      clock,
      timeoutMs,
      run(script).catch(() => false),
    );
    if (done !== undefined) return done;
    library = Promise.resolve(undefined);
    log.warn({ timeoutMs }, 'a change of nftables takes too long: from now on by the program nft');
    throw new ExecError(line, { why: `no end after ${timeoutMs} ms` });
  };

  return async (command, args, options = {}, signal) => {
    const { input = '', timeoutMs = defaultTimeoutMs } = options;
    if ([command, ...args].join(' ') !== line || input.length > maxLength) {
      return exec(command, args, options, signal);
    }
    if (library === undefined) {
      // Without a kernel that takes it, the library would end the process.
      const result = await exec(command, args, options, signal);
      library ??= load().catch((error: unknown) => {
        log.info({ err: asError(error) }, 'no libnftables: each change starts the program nft');
        return undefined;
      });
      return result;
    }
    const done = await turns.run(async () => {
      if (signal?.aborted === true) {
        throw new ExecError(line, { why: 'cancelled', cancelled: true });
      }
      return runInTurn(input, timeoutMs);
    });
    return done ? { stdout: '', stderr: '' } : exec(command, args, options, signal);
  };
}

/** What `work` comes to; undefined when that takes longer. */
function within<Result>(
  clock: Clock,
  timeoutMs: number,
  work: Promise<Result>,
): Promise<Result | undefined> {
  return new Promise((resolve, reject) => {
    const cancel = clock.schedule(() => {
      resolve(undefined);
    }, timeoutMs);
    work.then(resolve, reject).finally(cancel);
  });
}

async function loadLibrary(): Promise<RunScript> {
  const koffi = await foreignFunctions();
  const library = koffi.load(libraryName);
  const create = library.func('void *nft_ctx_new(uint32_t)');
  const free = library.func('void nft_ctx_free(void *)');
  const bufferOutput = library.func('int nft_ctx_buffer_output(void *)');
  const bufferError = library.func('int nft_ctx_buffer_error(void *)');
  const takeOutput = library.func('const char *nft_ctx_get_output_buffer(void *)');
  const takeError = library.func('const char *nft_ctx_get_error_buffer(void *)');
  const runScript = library.func('int nft_run_cmd_from_buffer(void *, const char *)');
  const trim = memoryTrim(koffi);
  const open = (): unknown => {
    // Without a file descriptor for its socket, the library would end the process.
    closeSync(openSync('/dev/null', 'r'));
    const opened: unknown = create(0);
    bufferOutput(opened);
    bufferError(opened);
    return opened;
  };
  let context: unknown;
  return async (script) => {
    context ??= open();
    const before = memoryUsage.rss();
    const done = (await beside(runScript, context, script)) === 0;
    // Taking them empties them.
    takeOutput(context);
    takeError(context);
    const grown = memoryUsage.rss() - before > trimBytes;
    if (grown || !done) {
      // With all that it has read of the kernel, and answers of the kernel that it has not.
      await beside(free, context);
      context = undefined;
    }
    if (grown && trim !== undefined) await beside(trim, 0);
    return done;
  };
}

/** malloc_trim(3) of glibc; other C libraries have none. */
function memoryTrim(koffi: ForeignFunctions): ForeignFunction | undefined {
  try {
    return koffi.load(null).func('int malloc_trim(size_t)');
  } catch {
    return undefined;
  }
}

/** Calls a function beside the main thread. */
function beside(function_: ForeignFunction, ...args: readonly unknown[]): Promise<unknown> {
  return new Promise((resolve, reject) => {
    function_.async(...args, (error: Error | null, result: unknown) => {
      if (error === null) resolve(result);
      else reject(error);
    });
  });
}
