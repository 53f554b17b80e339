/**
 * Who may speak to whom: the one rule that packets (isolation.ts) and names (zone.ts) follow. Pure.
 *
 * What counts is the service that is spoken to: its mode says who may come in. A link is the permission of the service that has
 * it to speak to the one that it names; it holds for all ports and protocols, and says nothing about the other direction, in
 * which only answers pass.
 */
import { serviceId, type ServiceIdentity } from '../../api/v1alpha1/names.ts';
import type { IsolationMode } from '../../api/v1alpha1/network-spec.ts';
import { routerIdentity } from '../../api/v1alpha1/router.ts';

/** What matters of a service. */
export interface IsolatedService {
  readonly mode: IsolationMode;
  readonly links: readonly { readonly service: string; readonly project?: string | undefined }[];
  /** The routers bring requests to it. */
  readonly routed: boolean;
  /** It is a run of this service of the same project, and counts as that: what it links to itself does not matter. */
  readonly memberOf?: string | undefined;
}

/** Of a service that nothing is said of. */
export const unknownService: IsolatedService = { mode: 'private', links: [], routed: false };

/** Reads the words of a service record. What a newer nap means by a word that this one does not know is not guessed: strict. */
export function isolatedService(record: {
  readonly isolation?: string | undefined;
  readonly links: IsolatedService['links'];
  readonly routed?: boolean | undefined;
  readonly memberOf?: string | undefined;
}): IsolatedService {
  const { isolation = 'private', links, routed = false, memberOf } = record;
  const isKnown = isolation === 'private' || isolation === 'open';
  return { mode: isKnown ? isolation : 'strict', links, routed, memberOf };
}

/** The service that counts for the permissions of a service: its own, or the one that it is a run of. */
export function principalOf(
  identity: ServiceIdentity,
  service: Pick<IsolatedService, 'memberOf'>,
): ServiceIdentity {
  const { namespace, project } = identity;
  return { namespace, project, service: service.memberOf ?? identity.service };
}

/** What is within reach of one another by default. Services without a Project are together, as they are for names. */
export function groupId({ namespace, project }: ServiceIdentity): string {
  return `${namespace}/${project}`;
}

/** The services that `identity` has links to. */
export function linkTargets(
  identity: ServiceIdentity,
  { links }: Pick<IsolatedService, 'links'>,
): ServiceIdentity[] {
  const { namespace } = identity;
  return links.map(({ service, project = identity.project }) => ({ namespace, project, service }));
}

/** The routers' service. */
export const routerId = serviceId(routerIdentity);

/**
 * Whether instances of `from` may speak to those of `to`.
 * @param from undefined: somebody in the overlay whom nap does not run
 * @param find what is known of a service
 */
export function maySpeak(
  from: ServiceIdentity | undefined,
  to: ServiceIdentity,
  find: (identity: ServiceIdentity) => IsolatedService | undefined,
): boolean {
  const target = find(to) ?? unknownService;
  if (target.mode === 'open') return true;
  if (from === undefined) return false;
  const source = find(from) ?? unknownService;
  const speaker = principalOf(from, source);
  const principal = serviceId(speaker);
  const wanted = serviceId(principalOf(to, target));
  if (principal === wanted) return true;
  if (target.mode === 'private' && groupId(from) === groupId(to)) return true;
  if (target.routed && principal === routerId) return true;
  const rights = principal === serviceId(from) ? source : (find(speaker) ?? unknownService);
  return linkTargets(speaker, rights).some((linked) => serviceId(linked) === wanted);
}
