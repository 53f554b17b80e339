import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { TLSSocket } from 'node:tls';
import { badRequest, forbidden, unauthorized } from '../errors/api-error.ts';
import {
  anonymous,
  authenticatedGroup,
  mastersGroup,
  type Identity,
  type TokenIdentity,
} from './identity.ts';

/** Finds out who sent a request. */
export type Authenticator = (request: IncomingMessage) => Identity;

export interface AuthenticatorOptions {
  readonly tokens: readonly TokenIdentity[];
  /** Without TLS kubectl sends no token: everybody on the loopback interface is then an administrator. */
  readonly insecure: boolean;
}

/**
 * Client certificates (common name = user, organizations = groups) and bearer tokens. A credential that
 * is not valid is 401; none at all is `system:anonymous`. Administrators may impersonate.
 */
export function createAuthenticator(options: AuthenticatorOptions): Authenticator {
  const byDigest = new Map(options.tokens.map((token) => [digest(token.token), token]));
  return (request) => {
    const user = authenticate(request);
    const asUser = header(request, 'impersonate-user');
    return asUser === undefined
      ? withoutStrayImpersonation(request, user)
      : impersonate(request, user, asUser);
  };

  function authenticate(request: IncomingMessage): Identity {
    const bearer = /^Bearer\s+(\S+)$/i.exec(request.headers.authorization ?? '')?.[1];
    if (bearer !== undefined) {
      // Looking a digest up does not leak, by its time, how much of a guessed token was right.
      const token = byDigest.get(digest(bearer));
      if (token === undefined) throw unauthorized();
      return identity(token.user, token.groups ?? [], token.uid);
    }
    if (request.headers.authorization !== undefined) throw unauthorized();
    const certified = byCertificate(request);
    if (certified !== undefined) return certified;
    return options.insecure ? identity('nap:insecure', [mastersGroup]) : anonymous;
  }
}

function byCertificate(request: IncomingMessage): Identity | undefined {
  if (!(request.socket instanceof TLSSocket)) return undefined;
  const certificate = request.socket.getPeerCertificate();
  // An empty object stands for "no certificate"; its type does not say so.
  const subject = certificate.subject as
    { CN?: string | string[]; O?: string | string[] } | undefined;
  if (subject === undefined) return undefined;
  if (!request.socket.authorized) throw unauthorized();
  const [name] = list(subject.CN);
  if (name === undefined) throw unauthorized();
  return identity(name, list(subject.O));
}

function impersonate(request: IncomingMessage, user: Identity, name: string): Identity {
  if (!user.groups.includes(mastersGroup)) {
    throw forbidden(
      { group: '', plural: 'users', kind: 'User' },
      name,
      `User "${user.name}" cannot impersonate resource "users" in API group "" at the cluster scope`,
    );
  }
  const groups = list(request.headersDistinct['impersonate-group']);
  return identity(name, groups, header(request, 'impersonate-uid'));
}

function withoutStrayImpersonation(request: IncomingMessage, user: Identity): Identity {
  if (
    request.headers['impersonate-group'] !== undefined ||
    request.headers['impersonate-uid'] !== undefined
  ) {
    throw badRequest('requested impersonation without impersonating a user');
  }
  return user;
}

function identity(name: string, groups: readonly string[], uid = ''): Identity {
  if (name === anonymous.name) return anonymous;
  return { name, uid, groups: [...new Set([...groups, authenticatedGroup])] };
}

function header(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name];
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function list(value: string | readonly string[] | undefined): string[] {
  if (value === undefined) return [];
  return typeof value === 'string' ? [value] : [...value];
}

function digest(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}
