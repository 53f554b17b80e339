import { chmod, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { challengeFile } from '../../network/haproxy/challenges.ts';
import { certificateFile, type RouterConfig } from '../../network/haproxy/config.ts';

/** What HAProxy reads when it starts and when it is told to load anew. */
const configFile = 'haproxy.cfg';
/** What is being checked. */
export const stagedFile = 'haproxy.cfg.next';
const previousFile = 'haproxy.cfg.last';

/**
 * The router's directory on its host, in memory since private keys are in it. All files but the configuration itself and the answers
 * to challenges are named by their content, so that what a configuration refers to never changes under it.
 */
export class RouterFiles {
  readonly directory: string;

  constructor(directory: string) {
    this.directory = directory;
  }

  get socket(): string {
    return join(this.directory, 'master.sock');
  }

  /** Makes sure that a router can start: with the last configuration, or with `first` if there is none. */
  async prepare(first: RouterConfig): Promise<void> {
    // The router has given up root's rights when it goes there; it is empty.
    await mkdir(join(this.directory, 'empty'), { recursive: true, mode: 0o755 });
    await this.#assureChallenges();
    if ((await this.current()) !== undefined) return;
    await this.stage(first, new Map());
    await this.promote();
  }

  /** The configuration in force. */
  async current(): Promise<string | undefined> {
    return this.#read(configFile);
  }

  /** Writes a configuration to be checked, with all that it refers to. @param certificates by hash */
  async stage(config: RouterConfig, certificates: ReadonlyMap<string, string>): Promise<void> {
    await this.#assureChallenges();
    for (const [name, text] of config.files) await this.#once(name, text);
    for (const [hash, pem] of certificates) await this.#once(certificateFile(hash), pem);
    await this.#write(stagedFile, config.text);
  }

  /** Puts the staged configuration in force; the one before is kept for `restore`. */
  async promote(): Promise<void> {
    const before = await this.current();
    if (before !== undefined) await this.#write(previousFile, before);
    await rename(join(this.directory, stagedFile), join(this.directory, configFile));
  }

  /** The configuration before the last promoted one is in force again. */
  async restore(): Promise<void> {
    await rename(join(this.directory, previousFile), join(this.directory, configFile)).catch(
      (error: unknown) => {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      },
    );
  }

  /** Writes the same configuration with other addresses: nothing that has to be checked. */
  async update(config: RouterConfig): Promise<void> {
    if ((await this.current()) !== config.text) await this.#write(configFile, config.text);
  }

  /** Writes the answers to challenges, from which a router that starts or loads anew has them. */
  async answer(challenges: string): Promise<void> {
    if ((await this.#read(challengeFile)) !== challenges)
      await this.#write(challengeFile, challenges);
  }

  /** Every configuration refers to the file. */
  async #assureChallenges(): Promise<void> {
    if ((await this.#read(challengeFile)) === undefined) await this.#write(challengeFile, '');
  }

  /** Removes what neither the configuration in force nor `config` refers to. */
  async sweep(config: RouterConfig, certificates: Iterable<string>): Promise<void> {
    const used = new Set([...config.files.keys(), ...[...certificates].map(certificateFile)]);
    const inForce = (await this.current()) ?? '';
    for (const name of await readdir(this.directory)) {
      if (!/^(routes|certificates?)-/.test(name) || used.has(name) || inForce.includes(name))
        continue;
      // A list in force names certificates.
      const lists = [...inForce.matchAll(/certificates-[0-9a-f]+\.list/g)].map(([list]) => list);
      const texts = await Promise.all(
        lists.map((list) => readFile(join(this.directory, list), 'utf8').catch(() => '')),
      );
      if (texts.some((text) => text.includes(name))) continue;
      await rm(join(this.directory, name), { force: true });
    }
  }

  async #read(name: string): Promise<string | undefined> {
    return readFile(join(this.directory, name), 'utf8').catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    });
  }

  /** A file whose name says its content. */
  async #once(name: string, text: string): Promise<void> {
    const size = await stat(join(this.directory, name)).then(
      (found) => found.size,
      () => undefined,
    );
    if (size !== Buffer.byteLength(text)) await this.#write(name, text);
  }

  /** Whole or not at all; for root alone. */
  async #write(name: string, text: string): Promise<void> {
    const path = join(this.directory, name);
    await writeFile(`${path}.new`, text, { mode: 0o600 });
    await chmod(`${path}.new`, 0o600);
    await rename(`${path}.new`, path);
  }
}
