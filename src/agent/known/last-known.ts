import { createHash, randomUUID } from 'node:crypto';
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import type { RecordSource } from '../../registry/record-watch.ts';
import type { Entry, WatchBatch } from '../../registry/store.ts';
import type { Clock } from '../../runtime/clock.ts';
import { asError } from '../../runtime/errors.ts';
import type { Logger } from '../../telemetry/log.ts';

/** More than this is not kept: 10,000 endpoints take some 3 MB. */
const mostBytes = 32 * 1024 ** 2;
/** Changes are gathered for this long; and longer, so that on average at most `bytesPerSecond` are written. */
const gatherMs = 2_000;
const bytesPerSecond = 100_000;

export interface LastKnownOptions {
  /** Where it is kept, on a disk that outlives a reboot. */
  readonly directory: string;
  readonly clock: Clock;
  readonly log: Logger;
}

const savedEntry = z.object({ key: z.string(), value: z.string(), modRevision: z.string() });
const savedFile = z.object({ prefix: z.string(), entries: z.array(savedEntry) });

/** One family of records as it is being followed. */
interface Family {
  readonly prefix: string;
  readonly entries: Map<string, Entry>;
  cancel: (() => void) | undefined;
  writing: boolean;
  dirty: boolean;
}

/**
 * What the registry said last, kept on this host's disk, so that an agent that starts while the registry is away knows what
 * its predecessor knew. It is only ever a beginning: the first word of the registry replaces it. Kept for those records
 * alone that are handed to `note`; what is delivered sealed is not among them.
 *
 * A file is replaced as a whole, carries a checksum, and counts as absent when anything is wrong with it.
 */
export class LastKnown {
  readonly #options: LastKnownOptions;
  readonly #families = new Map<string, Family>();

  constructor(options: LastKnownOptions) {
    this.#options = options;
  }

  /** The records under `prefix` as last noted by this agent or an earlier one; undefined: nothing usable. */
  async read(prefix: string): Promise<Entry[] | undefined> {
    try {
      const text = await readFile(this.#path(prefix), 'utf8');
      const end = text.indexOf('\n');
      const body = text.slice(end + 1);
      if (text.slice(0, end) !== checksum(body)) throw new Error('its checksum is wrong');
      const saved = savedFile.parse(JSON.parse(body));
      if (saved.prefix !== prefix) throw new Error('it is about something else');
      return saved.entries.map(({ key, value, modRevision }) => ({
        key,
        value,
        modRevision: BigInt(modRevision),
        createRevision: BigInt(modRevision),
      }));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
        const reason = asError(error).message;
        this.#options.log.warn(
          { prefix, reason },
          'what was last known cannot be read; leaving it out',
        );
      }
      return undefined;
    }
  }

  /** Takes note of a batch of a watch on `prefix`. Written soon, in the background. */
  note(prefix: string, batch: WatchBatch): void {
    const family = this.#family(prefix);
    if (batch.type === 'progress') return;
    if (batch.type === 'snapshot') {
      family.entries.clear();
      for (const entry of batch.entries) family.entries.set(entry.key, entry);
    } else {
      for (const event of batch.events) {
        if (event.type === 'put') family.entries.set(event.entry.key, event.entry);
        else family.entries.delete(event.key);
      }
    }
    family.dirty = true;
    this.#schedule(family, gatherMs);
  }

  /** Writes at once what waits to be written. */
  async flush(): Promise<void> {
    for (const family of this.#families.values()) {
      family.cancel?.();
      family.cancel = undefined;
      if (family.dirty && !family.writing) await this.#write(family);
    }
  }

  #family(prefix: string): Family {
    let family = this.#families.get(prefix);
    if (family === undefined) {
      const entries = new Map<string, Entry>();
      family = { prefix, entries, cancel: undefined, writing: false, dirty: false };
      this.#families.set(prefix, family);
    }
    return family;
  }

  #schedule(family: Family, delayMs: number): void {
    if (family.cancel !== undefined || family.writing) return;
    family.cancel = this.#options.clock.schedule(() => {
      family.cancel = undefined;
      void this.#write(family);
    }, delayMs);
  }

  /** Never rejects: a disk that is full costs the memory, nothing else. */
  async #write(family: Family): Promise<void> {
    const { log } = this.#options;
    family.writing = true;
    family.dirty = false;
    let bytes = 0;
    try {
      const body = JSON.stringify({
        prefix: family.prefix,
        entries: [...family.entries.values()].map(({ key, value, modRevision }) => ({
          key,
          value,
          modRevision: String(modRevision),
        })),
      });
      bytes = body.length;
      if (bytes > mostBytes) {
        // Half of it would pass for the whole.
        log.warn({ prefix: family.prefix, bytes }, 'too much to be kept on disk');
        await rm(this.#path(family.prefix), { force: true });
      } else await replaceFile(this.#path(family.prefix), `${checksum(body)}\n${body}`);
    } catch (error) {
      log.warn({ err: error, prefix: family.prefix }, 'cannot keep what is known on disk');
    } finally {
      family.writing = false;
    }
    // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- it may change during the write
    if (family.dirty) this.#schedule(family, gatherMs + (bytes / bytesPerSecond) * 1000);
  }

  #path(prefix: string): string {
    const name = prefix.replaceAll('/', '_').replace(/^_+|_+$/g, '');
    return join(this.#options.directory, `${name}.json`);
  }
}

/**
 * A watch that begins with what was last known, should the registry have nothing to say yet. Revisions of that are 0: those of
 * another registry, or of one that was made anew, may by chance be the same as now, and say nothing.
 */
export function remembering(store: RecordSource, known: LastKnown): RecordSource {
  return {
    list: (...args) => store.list(...args),
    async *watch(prefix, options, signal) {
      const saved = await known.read(prefix);
      const entries = saved?.map((entry) => ({ ...entry, modRevision: 0n, createRevision: 0n }));
      if (entries !== undefined) yield { type: 'snapshot', entries, revision: 0n };
      for await (const batch of store.watch(prefix, options, signal)) {
        known.note(prefix, batch);
        yield batch;
      }
    },
  };
}

function checksum(body: string): string {
  return createHash('sha256').update(body).digest('hex');
}

/** Readers see the old content or the whole new one, also after a power cut. */
async function replaceFile(path: string, content: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const draft = `${path}.${randomUUID()}`;
  const file = await open(draft, 'wx', 0o600);
  try {
    await file.writeFile(content);
    await file.sync();
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  } finally {
    await file.close();
  }
  await rename(draft, path);
}
