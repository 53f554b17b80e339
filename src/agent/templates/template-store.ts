import { readdirSync, readFileSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { deliveredTemplate } from '../../api/v1alpha1/template-spec.ts';
import type { ContainerSpec } from '../../registry/records/index.ts';
import type { DeliveredFile } from '../docker/engine.ts';
import { nameOf, writeInPlace, type FilesOf } from '../files/file-store.ts';

/** A template of one container, with the place where its file goes. */
const placedTemplate = deliveredTemplate.extend({
  /** Absent: a file of the container alone. */
  volume: z.object({ name: z.string(), path: z.string() }).optional(),
});
export type PlacedTemplate = z.infer<typeof placedTemplate>;

const definitionsText = z.object({ hash: z.string(), templates: z.array(placedTemplate) });
export type Definitions = z.infer<typeof definitionsText>;

const definitionsFile = 'definitions';

/** One run of a container: it reads its files when that begins. */
export interface Run {
  readonly id: string;
  /** As the engine writes it. */
  readonly startedAt: string;
}

const runsText = z.array(z.object({ id: z.string(), startedAt: z.string() }));

/**
 * Templates of this host's containers and the files that are mounted from them. On disk: what was rendered last is
 * there after a reboot, so that the engine starts the containers again though nobody can be asked for addresses. One
 * directory for each container spec: `definitions`, `<n>` the file of the container (mounted, so it is changed in place),
 * `<n>.new` what is being judged, `<n>.untold` while somebody has yet to be told of a change: the runs of containers
 * that have. A directory is named by the id of its placement, which no other placement of any cluster has.
 */
export class TemplateStore {
  readonly #directory: string;

  /** @param directory private to this host's agent, and on disk. */
  constructor(directory: string) {
    this.#directory = directory;
  }

  /** What was delivered for this container; undefined: nothing, or it cannot be read. */
  definitions(of: FilesOf): Definitions | undefined {
    try {
      // Synchronous, since the planner asks. Read once by who keeps it.
      return definitionsText.parse(
        JSON.parse(readFileSync(join(this.#home(of), definitionsFile), 'utf8')),
      );
    } catch {
      return undefined;
    }
  }

  async define(of: FilesOf, definitions: Definitions): Promise<void> {
    await mkdir(this.#home(of), { recursive: true, mode: 0o700 });
    await this.#replace(join(this.#home(of), definitionsFile), JSON.stringify(definitions));
  }

  /** Whether all files that are to be mounted are there. */
  complete(of: FilesOf, templates: readonly PlacedTemplate[]): boolean {
    try {
      const names = new Set(readdirSync(this.#home(of)));
      return templates.every(({ volume }, i) => volume !== undefined || names.has(String(i)));
    } catch {
      return false;
    }
  }

  mounts(of: FilesOf, templates: readonly PlacedTemplate[]): DeliveredFile[] {
    return templates.flatMap(({ target, volume }, index) =>
      volume === undefined ? [{ source: join(this.#home(of), String(index)), target }] : [],
    );
  }

  async read(of: FilesOf, index: number): Promise<Buffer | undefined> {
    return readFile(join(this.#home(of), String(index))).catch(() => undefined);
  }

  async write(
    of: FilesOf,
    index: number,
    bytes: Uint8Array,
    template: PlacedTemplate,
  ): Promise<void> {
    await writeInPlace(join(this.#home(of), String(index)), bytes, template);
  }

  /** Puts a content beside the file, to be judged. Returns its path. */
  async propose(
    of: FilesOf,
    index: number,
    bytes: Uint8Array,
    template: PlacedTemplate,
  ): Promise<string> {
    const path = join(this.#home(of), `${String(index)}.new`);
    await writeInPlace(path, bytes, template);
    return path;
  }

  async forgetProposal(of: FilesOf, index: number): Promise<void> {
    await rm(join(this.#home(of), `${String(index)}.new`), { force: true });
  }

  /**
   * Which runs have yet to be told of the last change, perhaps since before this agent was started; undefined: it is
   * not known which, of those that there are.
   */
  async untold(of: FilesOf, index: number): Promise<readonly Run[] | undefined> {
    try {
      return runsText.parse(JSON.parse(await readFile(this.#untold(of, index), 'utf8')));
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === 'ENOENT' ? [] : undefined;
    }
  }

  /** Notes that a change is to be told, to whom is not known yet; before it is made, so that no crash loses it. */
  async owe(of: FilesOf, index: number): Promise<void> {
    await writeFile(this.#untold(of, index), '', { mode: 0o600 });
  }

  /** Notes who has yet to be told; nobody: it is done. */
  async oweTo(of: FilesOf, index: number, runs: readonly Run[]): Promise<void> {
    if (runs.length > 0) await this.#replace(this.#untold(of, index), JSON.stringify(runs));
    else await rm(this.#untold(of, index), { force: true });
  }

  /** Removes what belongs to containers that `keep` does not name. */
  async sweep(keep: Iterable<FilesOf>): Promise<void> {
    const kept = new Set([...keep].map(nameOf));
    for (const name of await readdir(this.#directory).catch(() => [])) {
      if (!kept.has(name)) await rm(join(this.#directory, name), { recursive: true, force: true });
    }
  }

  async #replace(path: string, text: string): Promise<void> {
    await writeFile(`${path}.new`, text, { mode: 0o600 });
    await rename(`${path}.new`, path);
  }

  #untold(of: FilesOf, index: number): string {
    return join(this.#home(of), `${String(index)}.untold`);
  }

  #home(of: FilesOf): string {
    return join(this.#directory, nameOf(of));
  }
}

/** The named volume that a target lies in: that of the innermost mount around it. */
export function volumeOf(
  target: string,
  mounts: ContainerSpec['mounts'],
): PlacedTemplate['volume'] {
  const [mount] = mounts
    .filter((m) => target.startsWith(`${m.target.replace(/\/+$/, '')}/`))
    .sort((a, b) => b.target.length - a.target.length);
  if (mount?.type !== 'volume') return undefined;
  return { name: mount.name, path: target.slice(mount.target.replace(/\/+$/, '').length + 1) };
}
