import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { TestContainer } from '../../support/netns.ts';

/** Pings that go on for three seconds. */
export interface Pings {
  /** Resolves when the first one has been answered: what happens from then on happens to the others. */
  readonly begun: Promise<void>;
  /** Resolves at the end, e.g. to "0% packet loss". */
  readonly loss: Promise<string>;
}

/** Pings `to` every 20 ms. */
export function pinging(from: Pick<TestContainer, 'prefix'>, to: string): Pings {
  const ping = ['ping', '-i', '0.02', '-c', '150', '-W', '1', to];
  const [program = '', ...args] = [...from.prefix, ...ping];
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  let answered = (): void => undefined;
  const first = new Promise<void>((resolve) => (answered = resolve));
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text;
    if (said.includes('bytes from')) answered();
  });
  const loss = once(child, 'close').then(() => /[\d.]+% packet loss/.exec(said)?.[0] ?? said);
  const unanswered = loss.then((seen) => {
    if (!said.includes('bytes from')) throw new Error(`no ping to ${to} is answered: ${seen}`);
  });
  return { begun: Promise.race([first, unanswered]), loss };
}
