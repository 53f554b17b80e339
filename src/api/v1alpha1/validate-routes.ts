import { attempt } from './attempt.ts';
import { parseByteSize } from './byte-size.ts';
import { parseDuration } from './duration.ts';
import type { FieldError } from './field-error.ts';
import { parsePorts } from './port-string.ts';
import {
  redirectPattern,
  routeHostPattern,
  routeKey,
  routePathPattern,
  type RouteSpec,
} from './route.ts';
import type { ServiceSpec } from './service-spec.ts';

type At = (...segments: PropertyKey[]) => string;

/** The container's TCP ports; ports that cannot be read are told of elsewhere. */
export function routablePorts(ports: ServiceSpec['ports']): number[] {
  const errors: FieldError[] = [];
  const found = (ports ?? [])
    .map((port) => (typeof port === 'string' ? port.replaceAll('%i', '1') : port))
    .flatMap((port) => attempt(errors, '', port, () => parsePorts(port)) ?? [])
    .filter(({ protocol }) => protocol === 'tcp')
    .map(({ containerPort }) => containerPort);
  return [...new Set(found)];
}

/** What is wrong with routes beyond their schema. */
export function validateRoutes(spec: ServiceSpec, at: At, errors: FieldError[]): void {
  const seen = new Map<string, number>();
  for (const [index, route] of (spec.routes ?? []).entries()) {
    const here = (field: keyof RouteSpec) => at('routes', index, field);
    const fail = (field: keyof RouteSpec, message: string) =>
      errors.push({ path: here(field), value: route[field], message, severity: 'error' });
    if (!new RegExp(routeHostPattern).test(route.host) || route.host.split('.').some(isTooLong)) {
      fail(
        'host',
        'not a host name: use e.g. "shop.example.com", "*.example.com" or "*", in small letters',
      );
    }
    if (!new RegExp(routePathPattern).test(route.path)) {
      fail('path', 'a path begins with "/" and has no escapes, query or spaces: use e.g. "/api"');
    } else if (/\/\/|\/[.][.]?(\/|$)/.test(route.path)) {
      fail('path', 'a path without empty segments, "." and "..": no request would match it');
    }
    const twin = seen.get(routeKey(route));
    if (twin !== undefined) {
      fail(
        'host',
        `routes[${String(twin)}] is for the same host and path: give one of them another path`,
      );
    }
    seen.set(routeKey(route), index);
    validatePort(spec, route, fail);
    validateTls(route, fail);
    if (route.timeout !== undefined) {
      const timeout = attempt(errors, here('timeout'), route.timeout, () =>
        parseDuration(route.timeout ?? ''),
      );
      if (timeout === 0) fail('timeout', 'more than nothing: use e.g. "60s"');
    }
    if (route.maxBodySize !== undefined) {
      attempt(errors, here('maxBodySize'), route.maxBodySize, () =>
        parseByteSize(route.maxBodySize ?? ''),
      );
    }
  }
}

function validatePort(
  spec: ServiceSpec,
  route: RouteSpec,
  fail: (field: keyof RouteSpec, message: string) => void,
): void {
  if (route.redirectTo !== undefined) {
    const port = Number(/:(\d+)$/.exec(route.redirectTo)?.[1] ?? '1');
    if (!new RegExp(redirectPattern).test(route.redirectTo) || port > 65_535) {
      fail('redirectTo', 'an address without a path, e.g. "https://www.example.com"');
    }
    if (route.port !== undefined) fail('port', 'nothing reaches the service: redirectTo answers');
    return;
  }
  const ports = routablePorts(spec.ports);
  if (ports.length === 0) {
    fail(
      'port',
      'the service has no TCP port to send requests to: name it under ports, e.g. ["8080"]',
    );
  } else if (route.port === undefined && ports.length > 1) {
    fail('port', `which of the ports ${ports.join(', ')}?`);
  } else if (route.port !== undefined && !ports.includes(route.port)) {
    fail(
      'port',
      `the service has no TCP port ${String(route.port)}: its ports are ${ports.join(', ')}`,
    );
  }
}

function validateTls(
  { host, tls }: RouteSpec,
  fail: (field: keyof RouteSpec, message: string) => void,
): void {
  if (tls === undefined) return;
  if ((tls.secret === undefined) === (tls.acme === undefined)) {
    fail('tls', 'exactly one of secret and acme: use e.g. {acme: {}} or {secret: shop-tls}');
  }
  if (tls.acme === undefined) return;
  if (host.includes('*')) {
    fail(
      'tls',
      'no certificate for a wildcard can be obtained with HTTP-01: name the hosts, or bring a Secret of your own',
    );
  } else if (/(^|[.])[0-9]+$/.test(host)) {
    fail('tls', 'a certificate is obtained for a name, not for an address');
  }
}

function isTooLong(label: string): boolean {
  return label.length > 63;
}
