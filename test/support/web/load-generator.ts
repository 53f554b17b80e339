/**
 * Loads a web server until standard input ends, then prints a report (JSON) and ends. Runs inside a host's or a container's
 * network. Several kinds of clients at once, each one request at a time:
 *
 *   keep-alive   keep their connection for as long as the server does
 *   new          take a new connection for each request
 *   slow         as these, with requests that take 5 to 8 seconds
 *
 *   load-generator.ts URL
 */
import { Agent, get } from 'node:http';
import type { LoadReport } from './load.ts';

const clients = { 'keep-alive': 4, new: 3, slow: 4 } as const;
type Kind = keyof typeof clients;

const pauseMs = 40;
const timeoutMs = 30_000;
const url = process.argv[2] ?? '';

let running = true;
const report: LoadReport = {
  requests: { 'keep-alive': 0, new: 0, slow: 0 },
  failures: [],
  answers: {},
};

function ask(path: string, agent: Agent | false): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = get(url + path, { agent, timeout: timeoutMs }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text: string) => (body += text));
      response.once('end', () => {
        if (response.statusCode === 200 && response.complete && body.endsWith('\n')) resolve(body);
        else reject(new Error(`status ${String(response.statusCode)}, "${body}"`));
      });
      response.once('error', reject);
    });
    request.once('timeout', () => request.destroy(new Error(`no answer in ${timeoutMs} ms`)));
    request.once('error', reject);
  });
}

async function client(kind: Kind, number: number): Promise<void> {
  const agent = kind === 'keep-alive' ? new Agent({ keepAlive: true, maxSockets: 1 }) : false;
  for (let round = number; running; round++) {
    const startedAt = Date.now();
    report.requests[kind]++;
    try {
      const answer = await ask(kind === 'slow' ? `/?sleep=${5 + (round % 4)}` : '/', agent);
      const who = answer.trim();
      report.answers[who] = (report.answers[who] ?? 0) + 1;
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      const at = new Date(startedAt).toISOString();
      if (report.failures.length < 50)
        report.failures.push(`${kind} at ${at}, ${Date.now() - startedAt} ms: ${why}`);
    }
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
  if (agent !== false) agent.destroy();
}

process.stdin.resume().once('end', () => {
  running = false;
});
await Promise.all(
  (Object.keys(clients) as Kind[]).flatMap((kind) =>
    Array.from({ length: clients[kind] }, (_, number) => client(kind, number)),
  ),
);
process.stdout.write(JSON.stringify(report));
