import { Agent, type ClientRequest, type IncomingMessage } from 'node:http';
import { inspect } from 'node:util';
import Docker from 'dockerode';

/**
 * Calls share few kept-alive connections: dockerd serves them from one process anyway, and a burst of a
 * hundred creates must not open a hundred sockets.
 */
const maxCallConnections = 16;

/** Two connections to one engine: `calls` is pooled, `streams` is not, so that long streams never starve calls. */
export interface DockerClients {
  readonly calls: Docker;
  readonly streams: Docker;
  close(): void;
}

/**
 * Clients for the engine at a unix socket.
 *
 * dockerode lets the environment (DOCKER_HOST and others) win over the socket given, unless every such option is named
 * here. Its `timeout` stays unset: it would also end quiet event streams; each call has its own AbortSignal.
 *
 * @param version API version to pin, e.g. "1.41"; absent: whatever the engine takes (only for the first ping).
 */
export function dockerClients(socketPath: string, version?: string): DockerClients {
  const callAgent = terse(new EngineAgent({ keepAlive: true, maxSockets: maxCallConnections }));
  const streamAgent = terse(new EngineAgent({ keepAlive: false }));
  const make = (agent: Agent): Docker =>
    new Docker({
      ...fromEnvironment,
      protocol: 'http',
      socketPath,
      agent,
      ...(version !== undefined && { version: `v${version}` }),
    } as Docker.DockerOptions);
  return {
    calls: make(callAgent),
    streams: make(streamAgent),
    close() {
      callAgent.destroy();
      streamAgent.destroy();
    },
  };
}

/** The part of an agent that Node calls for each request; its types do not have it. */
interface Dispatching {
  addRequest(request: ClientRequest, ...rest: unknown[]): void;
}

/**
 * docker-modem hears of errors of a request, and of the end of its answer: an answer that breaks off after its first byte, as that to
 * "wait" does when the engine dies, it would wait for for ever (docker-modem 5, lib/modem.js, buildRequest). This has it told as an
 * error of the request.
 */
class EngineAgent extends Agent {
  addRequest(request: ClientRequest, ...rest: unknown[]): void {
    request.prependOnceListener('response', (response: IncomingMessage) => {
      response.once('error', (error) => request.emit('error', error));
    });
    (Agent.prototype as unknown as Dispatching).addRequest.call(this, request, ...rest);
  }
}

/**
 * docker-modem renders the options of every call for a debug log, to any depth, whether or not somebody reads it. Through
 * the agent that reaches all open sockets: more work than everything else that an agent does for a container.
 */
function terse(agent: Agent): Agent {
  return Object.assign(agent, { [inspect.custom]: () => 'Agent' });
}

/** What docker-modem would take from the environment. */
const fromEnvironment = {
  host: undefined,
  port: undefined,
  ca: undefined,
  cert: undefined,
  key: undefined,
  username: undefined,
  sshOptions: undefined,
  timeout: undefined,
  pathPrefix: undefined,
};
