import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DockerodeEngine } from './dockerode-engine.ts';

/** An engine that answers what is asked at first, and of which the rest of the answers is up to the test. */
let server: Server;
let directory: string;
let engine: DockerodeEngine;
/** Answers that have begun. */
let begun: ServerResponse[];
let onBegun: () => void;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nap-engine-'));
  begun = [];
  onBegun = () => undefined;
  server = createServer((request, response) => {
    if (request.url?.endsWith('/version') === true) {
      response.end('{"Version":"20.10.24","ApiVersion":"1.41","MinAPIVersion":"1.12"}');
    } else if (request.url?.endsWith('/info') === true) {
      response.end('{"NCPU":2,"MemTotal":1000,"KernelVersion":"6.1"}');
    } else {
      // As dockerd does when it waits for a container: status and headers at once, the rest when there is something to say.
      response.writeHead(200, { 'Content-Type': 'application/json' });
      response.flushHeaders();
      begun.push(response);
      onBegun();
    }
  });
  const socketPath = join(directory, 'docker.sock');
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  engine = new DockerodeEngine({ socketPath });
  await engine.connect();
});

afterEach(async () => {
  engine.close();
  server.closeAllConnections();
  server.close();
  await rm(directory, { recursive: true });
});

const answerBegins = (): Promise<void> =>
  new Promise((resolve) => {
    onBegun = resolve;
  });

describe('an answer that has begun', () => {
  it.each([
    ['a long wait', () => engine.wait('c1', 60_000)],
    ['a question', () => engine.inspect('c1')],
  ])('and breaks off, for the engine has died, fails at once: %s', async (_, call) => {
    const begins = answerBegins();
    const failed = expect(call()).rejects.toMatchObject({ reason: 'EngineUnavailable' });
    await begins;
    server.closeAllConnections();
    await failed;
  });

  it('and breaks off in the middle of what it says fails, too', async () => {
    const begins = answerBegins();
    const failed = expect(engine.wait('c1', 60_000)).rejects.toMatchObject({
      reason: 'EngineUnavailable',
    });
    await begins;
    begun[0]?.write('{"Status');
    server.closeAllConnections();
    await failed;
  });

  it('and does not end is not waited for any longer than was said', async () => {
    expect(await engine.wait('c1', 50)).toBeUndefined();
  });

  it('and does not end is left when nobody waits for it any more', async () => {
    const begins = answerBegins();
    const nobody = new AbortController();
    const left = expect(engine.wait('c1', 60_000, nobody.signal)).rejects.toThrow('enough');
    await begins;
    nobody.abort(new Error('enough'));
    await left;
  });
});
