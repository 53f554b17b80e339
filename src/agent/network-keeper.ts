import { labels } from '../api/v1alpha1/group.ts';
import { prefixOfSubnet } from '../network/address/twins.ts';
import { sleep, type Clock } from '../runtime/clock.ts';
import { deadline } from '../runtime/deadline.ts';
import { linkSignals } from '../runtime/linked-signal.ts';
import type { Logger } from '../telemetry/log.ts';
import { isAborted } from '../runtime/aborted.ts';
import type { AuditBook } from './audit/audit-book.ts';
import type { Engine, JoinedNetwork } from './docker/engine.ts';
import type { AgentDns, AgentNetwork, LocalInstances, LocalNetwork } from './options.ts';

const firstRetryMs = 200;
const longestRetryMs = 5000;
/** One try at taking the subnet; the registry may be stalled, and then a new try is better than waiting on. */
const ensureTimeoutMs = 20_000;

export interface NetworkKeeperDeps {
  readonly host: string;
  /** Name of the Docker network. */
  readonly name: string;
  readonly engine: Engine;
  readonly network: AgentNetwork;
  readonly dns: AgentDns;
  readonly local: LocalInstances;
  readonly clock: Clock;
  readonly log: Logger;
  /** The Docker network is compared with what it should be this often, in milliseconds, and after each return of the engine. */
  readonly auditMs: number;
  /** Told what was put right, and asks for audits. */
  readonly audits?: AuditBook;
  /** Called when `current` or `problem` has changed. */
  readonly onChange: () => void;
}

/**
 * Keeps the Docker network of the containers on the host's overlay subnet, and the name server on its gateway.
 *
 * When the registry does not answer at the agent's start, no subnet can be taken or proved. Then the name server starts on the
 * Docker network that an earlier agent has left, so that what runs here goes on resolving; containers are only created when the
 * subnet is proved (`current`).
 */
export class NetworkKeeper {
  readonly #deps: NetworkKeeperDeps;
  #current: LocalNetwork | undefined;
  #joined: JoinedNetwork | undefined;
  #problem = 'not set up yet';
  #engineUp = false;
  #signal: AbortSignal | undefined;
  #wake: () => void = () => undefined;
  #dns:
    | { readonly gateway: string; readonly stop: AbortController; readonly done: Promise<void> }
    | undefined;

  constructor(deps: NetworkKeeperDeps) {
    this.#deps = deps;
  }

  get name(): string {
    return this.#deps.name;
  }

  /** The overlay of this host, once its subnet is proved and the Docker network stands on it. */
  get current(): LocalNetwork | undefined {
    return this.#current;
  }

  /** What containers join, once it stands. */
  get joined(): JoinedNetwork | undefined {
    return this.#joined;
  }

  /** Why there is no `current`. */
  get problem(): string {
    return this.#problem;
  }

  /** Says that the engine has come or gone. */
  engineChanged(up: boolean): void {
    this.#engineUp = up;
    if (!up) return;
    if (this.#current === undefined) this.#serveWhatIsLeft();
    this.#wake();
  }

  /** Runs until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    this.#signal = signal;
    if (this.#engineUp) this.#serveWhatIsLeft();
    const overlay = this.#runOverlay(signal);
    const leave = this.#deps.audits?.onRequest(() => {
      this.#wake();
    });
    try {
      await this.#keepDockerNetwork(signal);
    } finally {
      leave?.();
      await overlay;
      this.#dns?.stop.abort();
      await this.#dns?.done;
    }
  }

  /** The overlay's own loop begins when the subnet is there, and again if it fails. */
  async #runOverlay(signal: AbortSignal): Promise<void> {
    while (!isAborted(signal)) {
      if (this.#current !== undefined) {
        try {
          await this.#deps.network.run(signal);
        } catch (error) {
          if (!isAborted(signal))
            this.#deps.log.warn({ err: error }, 'overlay loop failed; starting it again');
        }
      }
      await sleep(this.#deps.clock, 500, signal).catch(() => undefined);
    }
  }

  async #keepDockerNetwork(signal: AbortSignal): Promise<void> {
    const { log, network, clock, auditMs } = this.#deps;
    let failures = 0;
    while (!isAborted(signal)) {
      try {
        const limit = deadline(clock, ensureTimeoutMs, 'taking a subnet', signal);
        const local = await network.ensure(limit.signal).finally(() => {
          limit.dispose();
        });
        if (this.#engineUp) await this.#stand(local, signal);
        failures = 0;
        await this.#pause(this.#engineUp ? auditMs : longestRetryMs, signal);
      } catch (error) {
        if (isAborted(signal)) return;
        const problem = error instanceof Error ? error.message : String(error);
        if (failures === 0) log.warn({ err: error }, 'the overlay network is not up; trying again');
        if (this.#current === undefined && problem !== this.#problem) {
          this.#problem = problem;
          this.#deps.onChange();
        }
        const pauseMs = Math.min(longestRetryMs, firstRetryMs * 2 ** Math.min(failures++, 10));
        await sleep(clock, pauseMs, signal).catch(() => undefined);
      }
    }
  }

  async #stand(local: LocalNetwork, signal: AbortSignal): Promise<void> {
    const { engine, name, host, log } = this.#deps;
    const outcome = await engine.ensureNetwork(
      {
        name,
        subnet: local.subnet,
        gateway: local.gateway,
        ...(local.ipv6Subnet !== undefined &&
          local.ipv6Gateway !== undefined && {
            ipv6: { subnet: local.ipv6Subnet, gateway: local.ipv6Gateway },
          }),
        options: local.dockerOptions,
        labels: { [labels.host]: host },
      },
      signal,
    );
    if (outcome !== 'kept')
      log.info({ subnet: local.subnet, outcome }, 'the Docker network stands');
    this.#deps.network.dockerNetworkStands();
    const before = this.#current;
    const isSame = before?.subnet === local.subnet && before.ipv6Subnet === local.ipv6Subnet;
    if (isSame && outcome !== 'kept') {
      this.#deps.audits?.repaired([{ kind: 'bridge', what: `Docker network ${name} ${outcome}` }]);
    }
    this.#current = local;
    this.#joined = joinedNetwork(name, local);
    this.#serve(local.gateway, signal);
    if (!isSame || outcome !== 'kept') this.#deps.onChange();
  }

  #serveWhatIsLeft(): void {
    const { engine, name, log } = this.#deps;
    const signal = this.#signal;
    if (signal === undefined) return;
    engine.inspectNetwork(name, signal).then(
      (left) => {
        const proved = this.#current !== undefined;
        if (left?.gateway !== undefined && !proved) this.#serve(left.gateway, signal);
      },
      (error: unknown) => {
        if (!isAborted(signal)) log.debug({ err: error }, 'no earlier network to serve names on');
      },
    );
  }

  /** Has the name server answer on `gateway`, and nowhere else: it starts when an earlier one has ended. */
  #serve(gateway: string, signal: AbortSignal): void {
    const before = this.#dns;
    if (before?.gateway === gateway) return;
    before?.stop.abort();
    const stop = new AbortController();
    // Unlinked by the abort of `stop`, which comes in any case.
    const either = linkSignals(signal, stop.signal);
    const ended = before?.done ?? Promise.resolve();
    const done = ended.then(() => this.#runDns(gateway, either.signal));
    this.#dns = { gateway, stop, done };
  }

  async #runDns(gateway: string, signal: AbortSignal): Promise<void> {
    const { dns, local, log, clock } = this.#deps;
    let failures = 0;
    while (!isAborted(signal)) {
      try {
        await dns.run(gateway, local, signal);
      } catch (error) {
        if (isAborted(signal)) return;
        if (failures === 0)
          log.warn({ err: error, gateway }, 'name server failed; starting it again');
      }
      const pauseMs = Math.min(longestRetryMs, firstRetryMs * 2 ** Math.min(failures++, 10));
      await sleep(clock, pauseMs, signal).catch(() => undefined);
    }
  }

  #pause(delayMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        cancel();
        signal.removeEventListener('abort', done);
        this.#wake = () => undefined;
        resolve();
      };
      const cancel = this.#deps.clock.schedule(done, delayMs);
      this.#wake = done;
      signal.addEventListener('abort', done, { once: true });
      // It may have come while the network was being looked at.
      if (isAborted(signal)) done();
    });
  }
}

function joinedNetwork(name: string, { gateway, ipv6Subnet }: LocalNetwork): JoinedNetwork {
  return {
    name,
    gateway,
    ...(ipv6Subnet !== undefined && { ipv6: prefixOfSubnet(ipv6Subnet) }),
  };
}
