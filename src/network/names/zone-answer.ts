import { containsAddress, formatIpv4, tryParseIpv4, type Cidr } from '../address/cidr.ts';
import { formatIpv6, ipv4In, type Ipv6Prefix } from '../address/dual-stack.ts';
import {
  instanceDomain,
  serviceDomain,
  zoneSuffix,
  type Asker,
  type ServiceName,
  type Zone,
  type ZoneEndpoint,
} from './zone.ts';

/** Types of resource records that nap answers with. */
export type ZoneRecord =
  | {
      readonly type: 'A' | 'AAAA';
      readonly name: string;
      readonly ttl: number;
      readonly address: string;
    }
  | {
      readonly type: 'SRV';
      readonly name: string;
      readonly ttl: number;
      readonly priority: number;
      readonly weight: number;
      readonly port: number;
      readonly target: string;
    }
  | { readonly type: 'PTR'; readonly name: string; readonly ttl: number; readonly target: string }
  | {
      readonly type: 'SOA';
      readonly name: string;
      readonly ttl: number;
      readonly primary: string;
      readonly mailbox: string;
      readonly serial: number;
      readonly minimum: number;
    };

/** An answer of nap's own. `absent` is NXDOMAIN. */
export interface ZoneAnswer {
  readonly absent: boolean;
  readonly answers: readonly ZoneRecord[];
  readonly authorities: readonly ZoneRecord[];
  readonly additionals: readonly ZoneRecord[];
}

export interface ZoneQuestion {
  /** As asked: answers carry the same letters, for some clients check them (0x20). */
  readonly name: string;
  /** `A`, `SRV`, `AAAA`, … */
  readonly type: string;
}

export interface AnswerContext {
  readonly asker: Asker;
  /** Reverse names of these addresses are nap's to answer. */
  readonly network: Cidr;
  /** Absent: this host's overlay carries IPv4 only, and nobody is told of IPv6 addresses. */
  readonly ipv6?: {
    /** Reverse names of these addresses are nap's to answer. Absent: those of known instances only. */
    readonly prefix?: Ipv6Prefix | undefined;
  };
  /** Changes with the zone; shown in SOA records. */
  readonly serial: number;
  /** Numbers in [0, 1): the order of answers, so that clients which take the first one spread. */
  readonly random: () => number;
}

/**
 * How long clients may keep an answer, in seconds: instances move within seconds, and asking costs a packet on the
 * host's own bridge.
 */
export const answerTtlSeconds = 2;

/** The same for "there is none": what waits for a service to come up should see it at once. */
export const negativeTtlSeconds = 1;

/**
 * Answers a question, or says that it is `foreign`. A name that exists without a ready address, or without an
 * address of the type asked, gets an empty answer, not "no such name": resolvers keep "no such name" for every type
 * (RFC 2308, RFC 8020), and musl ends its search on it, so an AAAA question would hide the A record. Virtual IPs have no AAAA
 * record: beside one, clients would prefer it and miss the virtual IP.
 */
export function answerQuestion(
  zone: Zone,
  question: ZoneQuestion,
  context: AnswerContext,
): ZoneAnswer | 'foreign' {
  const name = question.name.toLowerCase().replace(/\.$/, '');
  const reverse = /^((?:\d{1,3}\.){4})in-addr\.arpa$/.exec(name);
  if (reverse !== null) return answerReverse(zone, question, reverse[1] ?? '', context);
  const long = /^((?:[0-9a-f]\.){32})ip6\.arpa$/.exec(name);
  if (long !== null && context.ipv6 !== undefined) {
    return answerReverseIpv6(zone, question, long[1] ?? '', context);
  }

  const service = /^_(\d{1,5})\._(tcp|udp|sctp)\.(.+)$/.exec(name);
  const found = zone.resolve(context.asker, service?.[3] ?? name);
  if (found.type === 'foreign') return 'foreign';
  if (found.type === 'absent') return empty(true, context);
  if (found.type === 'empty') {
    const apex = name === zoneSuffix && (question.type === 'SOA' || question.type === 'ANY');
    return apex
      ? { ...empty(false, context), answers: [soa(context)], authorities: [] }
      : empty(false, context);
  }

  const targets = shuffled(found.targets, context.random);
  const answers: ZoneRecord[] = [];
  const additionals: ZoneRecord[] = [];
  const asks = (type: 'A' | 'AAAA'): boolean => question.type === type || question.type === 'ANY';
  if (service === null && asks('A')) {
    const addresses =
      found.virtualIP === undefined
        ? targets.map(({ endpoint }) => endpoint.address)
        : // Also when no instance is ready: the answer stays true for as long as the service exists.
          [found.virtualIP];
    for (const address of addresses) {
      answers.push({ type: 'A', name: question.name, ttl: answerTtlSeconds, address });
    }
  }
  if (service === null && asks('AAAA') && found.virtualIP === undefined) {
    for (const { endpoint } of targets) {
      answers.push(...ipv6Record(question.name, endpoint, context));
    }
  }
  if (question.type === 'SRV' || (service !== null && question.type === 'ANY')) {
    // After those of IPv4: what has no room is left out from the end.
    const ipv6Additionals: ZoneRecord[] = [];
    for (const { ordinal, endpoint } of targets) {
      const ports = endpoint.ports.filter(
        (port) =>
          service === null || (port.port === Number(service[1]) && port.protocol === service[2]),
      );
      const target = instanceDomain(found.service, ordinal);
      for (const { port } of ports) {
        const ttl = answerTtlSeconds;
        answers.push({
          type: 'SRV',
          name: question.name,
          ttl,
          priority: 0,
          weight: 0,
          port,
          target,
        });
      }
      if (ports.length > 0) {
        additionals.push({
          type: 'A',
          name: target,
          ttl: answerTtlSeconds,
          address: endpoint.address,
        });
        ipv6Additionals.push(...ipv6Record(target, endpoint, context));
      }
    }
    additionals.push(...ipv6Additionals);
  }
  if (answers.length === 0) return empty(false, context);
  return { absent: false, answers, authorities: [], additionals };
}

function ipv6Record(
  name: string,
  { ipv6: address }: ZoneEndpoint,
  { ipv6 }: AnswerContext,
): readonly ZoneRecord[] {
  if (ipv6 === undefined || address === undefined) return [];
  return [{ type: 'AAAA', name, ttl: answerTtlSeconds, address }];
}

function answerReverse(
  zone: Zone,
  question: ZoneQuestion,
  labels: string,
  context: AnswerContext,
): ZoneAnswer | 'foreign' {
  const address = tryParseIpv4(labels.split('.').slice(0, 4).reverse().join('.'));
  if (address === undefined) return 'foreign';
  const service = zone.serviceAt(formatIpv4(address));
  if (service === undefined && !containsAddress(context.network, address)) return 'foreign';
  return answerPointer(zone, question, { service, address: formatIpv4(address) }, context);
}

/** @param labels the 32 digits of an address, from the last to the first: RFC 3596, section 2.5 */
function answerReverseIpv6(
  zone: Zone,
  question: ZoneQuestion,
  labels: string,
  context: AnswerContext,
): ZoneAnswer | 'foreign' {
  const digits = labels.split('.').slice(0, 32).reverse().join('');
  const address = formatIpv6(BigInt(`0x${digits}`));
  const prefix = context.ipv6?.prefix;
  const isOurs = prefix !== undefined && ipv4In(prefix, address) !== undefined;
  if (!isOurs && zone.instanceAt(address) === undefined) return 'foreign';
  return answerPointer(zone, question, { address }, context);
}

/** @param at an address, and the service whose virtual IP it is */
function answerPointer(
  zone: Zone,
  question: ZoneQuestion,
  at: { readonly address: string; readonly service?: ServiceName | undefined },
  context: AnswerContext,
): ZoneAnswer {
  const { service } = at;
  const instance = zone.instanceAt(at.address);
  const target =
    service !== undefined && isKnownTo(zone, context.asker, service)
      ? serviceDomain(service)
      : instance !== undefined && isKnownTo(zone, context.asker, instance)
        ? instanceDomain(instance, instance.ordinal)
        : undefined;
  if (target === undefined) return empty(true, context);
  if (question.type !== 'PTR' && question.type !== 'ANY') return empty(false, context);
  return {
    absent: false,
    answers: [{ type: 'PTR', name: question.name, ttl: answerTtlSeconds, target }],
    authorities: [],
    additionals: [],
  };
}

/** Whoever may speak to the asker is seen by him, too: a server may look up its clients. */
function isKnownTo(zone: Zone, asker: Asker, name: ServiceName): boolean {
  return zone.maySee(asker, name) || (typeof asker === 'object' && zone.maySee(name, asker));
}

function empty(absent: boolean, context: AnswerContext): ZoneAnswer {
  return { absent, answers: [], authorities: [soa(context)], additionals: [] };
}

function soa(context: AnswerContext): ZoneRecord {
  return {
    type: 'SOA',
    name: zoneSuffix,
    ttl: negativeTtlSeconds,
    primary: `ns.${zoneSuffix}`,
    mailbox: `hostmaster.${zoneSuffix}`,
    serial: context.serial,
    minimum: negativeTtlSeconds,
  };
}

/** Fisher and Yates. */
function shuffled<T>(items: readonly T[], random: () => number): readonly T[] {
  const result = [...items];
  for (let i = result.length - 1; i > 0; i--) {
    const j = Math.min(i, Math.floor(random() * (i + 1)));
    [result[i], result[j]] = [result[j] as T, result[i] as T];
  }
  return result;
}
