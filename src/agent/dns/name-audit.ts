import { Resolver } from 'node:dns/promises';
import { formatIpv6, tryParseIpv6 } from '../../network/address/dual-stack.ts';
import { answerQuestion, type AnswerContext } from '../../network/names/zone-answer.ts';
import { serviceDomain, Zone, type ServiceName } from '../../network/names/zone.ts';
import { endpointRecords, serviceRecords } from '../../registry/records/index.ts';
import type { Store } from '../../registry/store.ts';
import { sleep, type Clock } from '../../runtime/clock.ts';
import type { Finding } from '../audit/finding.ts';
import { zoneEndpoint } from './zone-view.ts';

/** A change may be on its way to this host for so long, in milliseconds; what differs for longer is wrong. */
const patienceMs = 2_000;
/** After a repair everything is read anew, which takes a while in a large cluster. */
const repairMs = 10_000;
const pollMs = 100;

/** Names are wrong on this host, and reading everything anew has not helped. */
export class WrongNamesError extends Error {
  override readonly name = 'WrongNamesError';
}

type AddressType = 'A' | 'AAAA';

export interface NameAuditOptions {
  readonly store: Pick<Store, 'list'>;
  /** The addresses that this host's name server gives for a name. Rejects when it gives none. */
  readonly ask: (name: string, type: AddressType) => Promise<readonly string[]>;
  /** What of IPv6 this host answers. Absent, or undefined: nothing, and nothing of it is asked. */
  readonly ipv6?: () => AnswerContext['ipv6'];
  /** Reads all records anew and opens new sockets. */
  readonly repair: () => void;
  readonly clock: Clock;
}

/**
 * Asks this host's name server as a container would, for one service after the other, and compares its answers with what the registry says
 * at that moment. One service at each call: what goes wrong here (a watch that has fallen silent, a socket that is gone) does so for all
 * names alike, and 1,000 hosts that read everything would be a load.
 */
export class NameAudit {
  readonly #options: NameAuditOptions;
  /** The path of the service that was asked for last. */
  #last = '';

  constructor(options: NameAuditOptions) {
    this.#options = options;
  }

  /** @throws {WrongNamesError}, or an error of the store */
  async audit(signal: AbortSignal): Promise<readonly Finding[]> {
    const service = await this.#next(signal);
    if (service === undefined) return [];
    const before = await this.#differs(service, patienceMs, signal);
    if (before === undefined) return [];
    this.#options.repair();
    const after = await this.#differs(service, repairMs, signal);
    if (after !== undefined) throw new WrongNamesError(after);
    return [{ kind: 'dns', what: `names read anew: ${before}` }];
  }

  /** The next service in the order of paths, and the first after the last. */
  async #next(signal: AbortSignal): Promise<ServiceName | undefined> {
    const { store } = this.#options;
    const { prefix } = serviceRecords;
    const after = this.#last === '' ? {} : { after: this.#last };
    const { entries } = await store.list(prefix, { limit: 1, ...after }, signal);
    const path = entries[0]?.key ?? '';
    if (path === '' && this.#last !== '') {
      this.#last = '';
      return this.#next(signal);
    }
    this.#last = path;
    return serviceRecords.parsePath(path);
  }

  /** In words, what its names mean wrongly for as long as `forMs`; undefined when they come to be right. */
  async #differs(
    service: ServiceName,
    forMs: number,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    const { clock } = this.#options;
    const end = clock.monotonic() + forMs;
    for (;;) {
      const difference = await this.#difference(service, signal);
      if (difference === undefined || clock.monotonic() >= end) return difference;
      await sleep(clock, pollMs, signal);
    }
  }

  async #difference(service: ServiceName, signal: AbortSignal): Promise<string | undefined> {
    const zone = await this.#zoneOf(service, signal);
    const plain = serviceDomain(service);
    const ipv6 = this.#options.ipv6?.();
    const types = ipv6 === undefined ? (['A'] as const) : (['A', 'AAAA'] as const);
    for (const name of [plain, `tasks.${plain}`]) {
      for (const type of types) {
        const right = addressesIn(zone, name, type, ipv6);
        const given = await this.#options.ask(name, type).catch((error: unknown) => error as Error);
        const said = given instanceof Error ? given.message : [...given].sort().join(', ');
        // No address is told as an error by those who ask.
        const isNone = given instanceof Error && /ENOTFOUND|ENODATA/.test(given.message);
        if (right.length === 0 ? isNone : said === right.join(', ')) continue;
        return `${name} was answered by ${said || 'nothing'} instead of ${right.join(', ') || 'nothing'}`;
      }
    }
    return undefined;
  }

  /** What the registry says of one service. */
  async #zoneOf(service: ServiceName, signal: AbortSignal): Promise<Zone> {
    const { store } = this.#options;
    const zone = new Zone();
    const path = serviceRecords.path(service);
    const [records, endpoints] = await Promise.all([
      store.list(path, {}, signal),
      store.list(endpointRecords.path({ ...service, ordinal: '' }), {}, signal),
    ]);
    const record = records.entries.find(({ key }) => key === path);
    if (record !== undefined) zone.setService(service, serviceRecords.decode(record.value));
    for (const { key, value } of endpoints.entries) {
      const seat = endpointRecords.parsePath(key)?.ordinal;
      if (seat === undefined) continue;
      zone.setEndpoint(service, seat, zoneEndpoint(endpointRecords.decode(value)));
    }
    return zone;
  }
}

/** Asks a name server over UDP. */
export function askServer(address: string, port: number): NameAuditOptions['ask'] {
  const resolver = new Resolver({ timeout: 1_000, tries: 2 });
  resolver.setServers([`${address}:${port}`]);
  return async (name, type) => {
    if (type === 'A') return resolver.resolve4(name);
    const addresses = await resolver.resolve6(name);
    // One spelling, whatever the resolver's is.
    return addresses.map((address) => formatIpv6(tryParseIpv6(address) ?? 0n));
  };
}

function addressesIn(
  zone: Zone,
  name: string,
  type: AddressType,
  ipv6: AnswerContext['ipv6'],
): readonly string[] {
  const network = { base: 0, prefix: 32 };
  const context = { asker: undefined, network, serial: 0, random: () => 0, ...(ipv6 && { ipv6 }) };
  const answer = answerQuestion(zone, { name, type }, context);
  if (answer === 'foreign') return [];
  return answer.answers.flatMap((each) => (each.type === type ? [each.address] : [])).sort();
}
