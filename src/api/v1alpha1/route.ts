import { createHash } from 'node:crypto';
import { z } from 'zod';
import { byteSizePattern } from './byte-size.ts';
import { durationPattern } from './duration.ts';
import { rule } from './schema-extensions.ts';

const label = '[a-z0-9]([-a-z0-9]*[a-z0-9])?';
const dnsName = `${label}([.]${label})*`;

/** Shape of a route's host: a name, `*.NAME`, or `*` alone. */
export const routeHostPattern = `^([*]|([*][.])?${dnsName})$`;
/** Shape of a route's path: what RFC 3986 lets stand in a path without escapes. */
export const routePathPattern = "^/[A-Za-z0-9._~!$&'()*+,;=:@/-]*$";
/** Shape of an address to redirect to: scheme, host and port; path and query are kept. */
export const redirectPattern = `^https?://${dnsName}(:[1-9][0-9]{0,4})?$`;

const secretName = (description: string) => z.string().min(1).max(253).meta({ description });

/** One entry of a service's `routes`. */
export const routeSpec = z
  .object({
    host: z
      .string()
      .min(1)
      .max(253)
      .meta({
        description:
          'Host that is asked for: "shop.example.com"; "*.example.com" for all names one label longer that have no route of ' +
          'their own; "*" for whatever is left.',
        pattern: routeHostPattern,
      }),
    path: z.string().max(1024).default('/').meta({
      description:
        'Prefix of the path, by whole segments: "/api" is for /api and /api/x, not for /apix. The longest wins.',
      pattern: routePathPattern,
    }),
    port: z
      .int()
      .min(1)
      .max(65_535)
      .meta({
        description:
          'Port of the container, one of the service\'s TCP "ports": 8080. Default: the only one. It need not be published.',
      })
      .optional(),
    tls: z
      .object({
        secret: secretName(
          'Secret of the namespace with tls.crt and tls.key (kubectl create secret tls): "shop-tls".',
        ).optional(),
        acme: z
          .object({})
          .meta({
            description:
              'Has the operator obtain a certificate and renew it in time (RFC 8555, HTTP-01), and keep it in the Secret "acme.<host>". ' +
              "The host must lead to the routers' port 80, and be no wildcard. Needs nap up or nap operator with " +
              '--acme-directory. Example: {}.',
          })
          .optional(),
        redirect: z.boolean().default(true).meta({
          description: 'Whether who asks over plain http is sent to https. false: both are served.',
        }),
      })
      .meta({
        description:
          'Serves https with a certificate: one of your own, {secret: shop-tls}, taken anew when the Secret changes; or one that is ' +
          'obtained for the host, {acme: {}}.',
        'x-kubernetes-validations': [
          rule('has(self.secret) != has(self.acme)', 'tls has exactly one of secret and acme'),
        ],
      })
      .optional(),
    basicAuth: z
      .object({
        secret: secretName(
          'Secret of the namespace whose key "auth" has lines USER:HASH, hashes of mkpasswd -m sha-256 or sha-512, or bcrypt ' +
            '(htpasswd -B): "shop-users".',
        ),
      })
      .meta({
        description:
          'Asks for a name and a password (RFC 7617). bcrypt is slow by design, and slows the router with each request: ' +
          'sha-256 is kinder. Example: {secret: shop-users}.',
      })
      .optional(),
    timeout: z
      .string()
      .max(40)
      .meta({
        description:
          'How long the service may be silent before the router gives up: "5m" for a stream of events with pauses. Default 60s. ' +
          'WebSockets have an hour.',
        pattern: durationPattern,
      })
      .optional(),
    maxBodySize: z
      .union([z.int(), z.string()])
      .meta({
        description:
          'Largest body of a request: "10M". A larger one is refused (413), and so is one whose length is not told ' +
          'beforehand (411). Default: no limit.',
        intOrString: true,
        pattern: byteSizePattern,
        maxLength: 20,
        minimum: 0,
      })
      .optional(),
    redirectTo: z
      .string()
      .max(280)
      .meta({
        description:
          'Sends whoever asks to another host (308), with path and query kept: "https://www.example.com". Nothing reaches the service.',
        pattern: redirectPattern,
      })
      .optional(),
  })
  .meta({
    'x-kubernetes-validations': [
      rule(
        "!has(self.tls) || !has(self.tls.acme) || !self.host.contains('*')",
        'no certificate for a wildcard can be obtained (tls.acme): name the hosts, or bring a Secret of your own',
      ),
    ],
  });
export type RouteSpec = z.output<typeof routeSpec>;

/** How long a service may be silent, unless its route says otherwise, milliseconds. */
export const defaultRouteTimeoutMs = 60_000;

/** Most routes of one service. */
export const maxRoutes = 32;

/** `/api/` and `/api` are one prefix; the root is "/". */
export function normalRoutePath(path: string): string {
  const trimmed = path.replace(/\/+$/, '');
  return trimmed === '' ? '/' : trimmed;
}

/** What two routes have in common when they are about the same requests. */
export function routeKey(route: { readonly host: string; readonly path: string }): string {
  return route.host + normalRoutePath(route.path);
}

/** Where a browser finds it; undefined for one that names no host. */
export function routeUrl(route: {
  readonly host: string;
  readonly path: string;
  readonly tls?: unknown;
}): string | undefined {
  if (route.host === '*') return undefined;
  return `${route.tls === undefined ? 'http' : 'https'}://${route.host}${normalRoutePath(route.path)}`;
}

/** Secret, in the namespace of the service, in which the operator keeps the certificate of a host. */
export function acmeSecretName(host: string): string {
  const name = `acme.${host}`;
  const most = 253;
  return name.length <= most
    ? name
    : `acme.${createHash('sha256').update(host).digest('hex').slice(0, 40)}`;
}
