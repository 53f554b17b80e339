import { parseLink } from './link-string.ts';
import { instanceName, standaloneProject, type ServiceIdentity } from './names.ts';
import type { ServiceSpec } from './service-spec.ts';

/** What is known of a service that is linked to. */
export type LinkTarget =
  | {
      readonly type: 'found';
      /** Absent: it has none by its own wish; its names lead to its instances. */
      readonly virtualIP?: string;
      readonly ports: readonly { readonly port: number; readonly protocol: string }[];
      /** Its spec's own variables. Absent: not known. */
      readonly environment?: ServiceSpec['environment'];
    }
  | { readonly type: 'missing' }
  /** It is to have a virtual IP, and has none yet. */
  | { readonly type: 'unaddressed'; readonly why: string };

/** What a container gets for its links: Docker's `--link`, on the virtual IPs. */
export interface ResolvedLinks {
  /** Name → virtual IP, for /etc/hosts. */
  readonly hosts: Readonly<Record<string, string>>;
  /** `DB_PORT_3306_TCP_ADDR` and the like, for instance `ordinal`. */
  environment(ordinal: number): Readonly<Record<string, string>>;
}

export type LinkOutcome =
  /** `links` is absent where no link leads to a virtual IP. */
  | { readonly type: 'ok'; readonly links?: ResolvedLinks }
  | { readonly type: 'blocked'; readonly reason: LinkBlockReason; readonly message: string };

/** Why a container cannot have its links. */
export type LinkBlockReason = 'LinkMissing' | 'LinkPending';

/** Ports of one link that get variables: a range of a thousand must not fill the environment. */
const maxPorts = 64;
/** Characters of a linked service's variables that are passed on. */
const maxEnvironment = 32_768;

/** Names the service that a link of `identity` leads to. */
export function linkedService(
  identity: ServiceIdentity,
  link: { readonly service: string; readonly project?: string },
): ServiceIdentity {
  return {
    namespace: identity.namespace,
    project: link.project ?? identity.project,
    service: link.service,
  };
}

/**
 * Looks up all links of a service. Pure.
 *
 * `DB_ENV_…` has what the linked service's spec says under `environment`, as the links of Docker have it: what images read to
 * find a password there. Never what comes by envFrom, from a Secret or a ConfigMap; not what differs between its
 * instances; and nothing of another project, whose owners were not asked.
 */
export function resolveLinks(
  identity: ServiceIdentity,
  spec: Pick<ServiceSpec, 'links'>,
  lookup: (service: ServiceIdentity) => LinkTarget,
): LinkOutcome {
  const hosts: Record<string, string> = {};
  const variables: ((ordinal: number) => Record<string, string>)[] = [];
  for (const text of spec.links ?? []) {
    const link = parseLink(text);
    const other = linkedService(identity, link);
    const isForeign = other.project !== identity.project;
    const called = isForeign ? describe(other) : `service ${other.service}`;
    const target = lookup(other);
    if (target.type === 'missing') {
      return {
        type: 'blocked',
        reason: 'LinkMissing',
        message: `the link ${JSON.stringify(text)} waits: there is no ${called}`,
      };
    }
    if (target.type === 'unaddressed') {
      return {
        type: 'blocked',
        reason: 'LinkPending',
        message: `the link ${JSON.stringify(text)} waits: ${called} has no virtual IP yet: ${target.why}`,
      };
    }
    const { virtualIP } = target;
    if (virtualIP === undefined) continue;
    hosts[link.alias] = virtualIP;
    if (!isForeign) hosts[link.service] = virtualIP;
    variables.push((ordinal) => ({
      ...(isForeign ? {} : environmentOf(link.alias, target.environment ?? {})),
      ...portsOf(link.alias, virtualIP, target.ports),
      [`${prefixOf(link.alias)}_NAME`]: `/${instanceName({ ...identity, ordinal: String(ordinal) })}/${link.alias}`,
    }));
  }
  if (variables.length === 0) return { type: 'ok' };
  const environment = (ordinal: number): Record<string, string> =>
    Object.assign({}, ...variables.map((make) => make(ordinal))) as Record<string, string>;
  return { type: 'ok', links: { hosts, environment } };
}

function describe({ project, service }: ServiceIdentity): string {
  return project === standaloneProject
    ? `Service ${service} outside of projects`
    : `service ${service} in project ${project}`;
}

/** As Docker makes variables of an alias. */
function prefixOf(alias: string): string {
  return alias.toUpperCase().replaceAll('-', '_');
}

function portsOf(
  alias: string,
  virtualIP: string,
  ports: readonly { readonly port: number; readonly protocol: string }[],
): Record<string, string> {
  const prefix = prefixOf(alias);
  const sorted = ports
    .toSorted((a, b) => a.port - b.port || rank(a.protocol) - rank(b.protocol))
    .slice(0, maxPorts);
  const result: Record<string, string> = {};
  for (const { port, protocol } of sorted) {
    const url = `${protocol}://${virtualIP}:${port}`;
    const name = `${prefix}_PORT_${port}_${protocol.toUpperCase()}`;
    // The first one, by number, stands for the service.
    result[`${prefix}_PORT`] ??= url;
    result[name] = url;
    result[`${name}_ADDR`] = virtualIP;
    result[`${name}_PORT`] = String(port);
    result[`${name}_PROTO`] = protocol;
  }
  return result;
}

function rank(protocol: string): number {
  return protocol === 'tcp' ? 0 : 1;
}

function environmentOf(
  alias: string,
  environment: NonNullable<ServiceSpec['environment']>,
): Record<string, string> {
  const result: Record<string, string> = {};
  let room = maxEnvironment;
  for (const [name, value] of Object.entries(environment).sort(([a], [b]) => (a < b ? -1 : 1))) {
    const text = String(value);
    // A placeholder is another value in each instance; a doubled percent sign is one.
    if (text.replaceAll('%%', '').includes('%')) continue;
    room -= name.length + text.length;
    if (room < 0) break;
    result[`${prefixOf(alias)}_ENV_${name}`] = text.replaceAll('%%', '%');
  }
  return result;
}
