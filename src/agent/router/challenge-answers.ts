import { challengeFile, planMap, renderChallenges } from '../../network/haproxy/challenges.ts';
import type { HaproxyControl } from './haproxy.ts';
import type { RouterFiles } from './router-files.ts';

export interface ChallengeAnswersDeps {
  readonly files: Pick<RouterFiles, 'answer'>;
  readonly haproxy: Pick<HaproxyControl, 'workers' | 'map' | 'command'>;
  /** The router's directory, as it sees it. */
  readonly directory: string;
  /** Told which challenges (their tokens, in order) the router answers, whenever it are others. */
  readonly onAnswered: (tokens: readonly string[]) => void;
}

/**
 * Has the router answer the challenges of ACME authorities. They come and go without a new configuration: over the socket the
 * process that takes connections gets them, and from the file the next one has them. Level-triggered: what is
 * told to be answered has been read back from the router.
 */
export class ChallengeAnswers {
  readonly #deps: ChallengeAnswersDeps;
  #answered: readonly string[] = [];

  constructor(deps: ChallengeAnswersDeps) {
    this.#deps = deps;
  }

  /** To be called before a configuration is loaded. @param wanted `host/token` → answer */
  async write(wanted: ReadonlyMap<string, string>): Promise<void> {
    await this.#deps.files.answer(renderChallenges(wanted));
  }

  /** Gives the router that runs the answers. @throws {RouterAwayError} */
  async give(wanted: ReadonlyMap<string, string>, signal: AbortSignal): Promise<void> {
    const { haproxy, directory } = this.#deps;
    await this.write(wanted);
    const file = `${directory}/${challengeFile}`;
    // Old processes have only connections that are open already.
    const worker = (await haproxy.workers(signal)).find(({ current }) => current);
    let answers = worker && (await haproxy.map(worker, file, signal));
    const commands = answers === undefined ? [] : planMap(file, wanted, answers);
    if (worker !== undefined && commands.length > 0) {
      await haproxy.command(worker, commands, signal);
      answers = await haproxy.map(worker, file, signal);
    }
    const answered = [...wanted].filter(([key, answer]) => answers?.get(key) === answer);
    this.#tell(answered.map(([key]) => key.slice(key.indexOf('/') + 1)));
  }

  /** No router runs, or it cannot be told whether one does. */
  none(): void {
    this.#tell([]);
  }

  #tell(tokens: readonly string[]): void {
    const sorted = tokens.toSorted();
    if (sorted.join(' ') === this.#answered.join(' ')) return;
    this.#answered = sorted;
    this.#deps.onAnswered(sorted);
  }
}
