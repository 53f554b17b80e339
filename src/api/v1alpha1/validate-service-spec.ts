import { attempt } from './attempt.ts';

import { formatByteSize, parseByteSize } from './byte-size.ts';
import { formatCpuQuantity, parseCpuQuantity } from './cpu-quantity.ts';
import { parseDuration } from './duration.ts';
import { fieldPath, type FieldError } from './field-error.ts';
import { isImageReference } from './image-reference.ts';
import { parseLink } from './link-string.ts';
import type { PortMapping } from './container-spec.ts';
import { validateHooks } from './hooks.ts';
import { fillSpec } from './placeholders.ts';
import { formatPort, parsePorts } from './port-string.ts';
import type { ServiceSpec } from './service-spec.ts';
import { isSignal } from './signals.ts';
import { validateHealthAndRestart } from './validate-health-check.ts';
import { validateJobs } from './validate-jobs.ts';
import { validatePlaceholders, validatePlacement } from './validate-placement.ts';
import { validateRoutes } from './validate-routes.ts';
import { validateUpdate } from './update-policy.ts';
import { validateMounts } from './validate-volumes.ts';

/** Docker refuses a container with less ("Minimum memory limit allowed is 6MB"). */
const minMemoryLimitBytes = 6 * 1024 ** 2;
/**
 * Most ports of one instance, ranges written out. Short strings could ask for 100,000; a placement with so many would not
 * fit into an etcd value, and each is a rule or a proxy on the host.
 */
const maxPorts = 1000;
/** Docker refuses less ("Range of CPUs is from 0.01 …"). */
const minCpuLimitMillis = 10;

/**
 * What is wrong with one service's spec beyond its schema. `path` is where the spec stands; `siblings` are the names
 * of the project's services (absent for a Service alone: what its links name cannot be told from it).
 */
export function validateServiceSpec(
  written: ServiceSpec,
  path: readonly PropertyKey[],
  siblings?: readonly string[],
): FieldError[] {
  const errors: FieldError[] = [];
  const at = (...segments: PropertyKey[]) => fieldPath(...path, ...segments);
  validatePlaceholders(written, at, errors);
  // As its last instance will have it: the one with the greatest numbers.
  const spec = fillSpec(written, {
    name: `x-${String(written.replicas)}`,
    ordinal: Math.max(1, written.replicas),
    host: 'host',
    machineID: 'machine',
  });
  const fail = (where: string, value: unknown, message: string) =>
    errors.push({ path: where, value, message, severity: 'error' });

  if (!isImageReference(spec.image)) {
    fail(
      at('image'),
      spec.image,
      'not an image reference: use e.g. "redis:7" or "registry.example.com:5000/team/app:1.4.2"; names are in lower case',
    );
  }
  for (const key of Object.keys(spec.environment ?? {})) {
    if (key === '' || key.includes('=') || key.includes('\0')) {
      fail(at('environment', key), key, 'a variable needs a name without "=": write {NAME: value}');
    }
  }
  for (const key of Object.keys(spec.labels ?? {})) {
    if (key === '' || key.startsWith('nap.dev/')) {
      fail(
        at('labels', key),
        key,
        'keys may not be empty or begin with nap.dev/, which nap uses itself: take a prefix of your own, e.g. example.com/',
      );
    }
  }
  if (spec.workingDir !== undefined && !spec.workingDir.startsWith('/')) {
    fail(
      at('workingDir'),
      spec.workingDir,
      'a working directory is an absolute path, e.g. /srv/app',
    );
  }
  if (spec.hostname !== undefined && !isHostname(spec.hostname)) {
    fail(
      at('hostname'),
      spec.hostname,
      'a hostname is made of letters, digits, "-" and ".", e.g. db1.example.com, at most 63 characters',
    );
  }
  if (spec.user !== undefined && !/^[^:\s]+(:[^:\s]+)?$/.test(spec.user)) {
    fail(at('user'), spec.user, 'a user is USER or USER:GROUP, e.g. "1000:1000" or "www-data"');
  }
  if (spec.stopSignal !== undefined && !isSignal(spec.stopSignal)) {
    fail(
      at('stopSignal'),
      spec.stopSignal,
      'not a signal of Linux: use e.g. "SIGQUIT", "SIGRTMIN+3" or "3"',
    );
  }
  attempt(errors, at('stopGracePeriod'), spec.stopGracePeriod, () =>
    parseDuration(spec.stopGracePeriod),
  );
  const { drainTimeout } = spec;
  if (drainTimeout !== undefined) {
    attempt(errors, at('drainTimeout'), drainTimeout, () => parseDuration(drainTimeout));
  }
  const machineID = spec.placement?.machineID;
  if (machineID !== undefined && machineID.trim() === '') {
    fail(
      at('placement', 'machineID'),
      machineID,
      'name a host or give (the beginning of) a machine ID',
    );
  }
  errors.push(...validateUpdate(spec.update, path, spec.timeoutStart));
  if (spec.fencing === 'stop' && spec.update?.order === 'start-first') {
    fail(
      at('update', 'order'),
      spec.update.order,
      'start-first runs two at a time, which fencing: stop rules out: use stop-first',
    );
  }
  validatePlacement(spec, at, errors, siblings);
  validatePorts(spec, at, errors);
  validateRoutes(spec, at, errors);
  validateLinks(spec, at, errors, siblings);
  validateMounts(spec, at, errors, siblings);
  validateResources(spec, at, errors);
  validateHealthAndRestart(spec, at, errors);
  validateHooks(spec, at, errors);
  validateDataOnly(spec, at, errors);
  validateJobs(spec, at, errors);
  return errors;
}

type At = (...segments: PropertyKey[]) => string;

/** Fields that speak of a container that runs. */
const ofRunningOnes = [
  'command',
  'entrypoint',
  'ports',
  'links',
  'healthCheck',
  'restartSec',
  'startLimit',
  'execStartPre',
  'execStartPost',
  'execStop',
  'execStopPost',
  'timeoutStart',
  'timeoutStop',
] as const;

/** What is never started has nothing to say about a run. */
function validateDataOnly(spec: ServiceSpec, at: At, errors: FieldError[]): void {
  if (spec.start !== false) return;
  for (const field of ofRunningOnes) {
    if (spec[field] === undefined) continue;
    errors.push({
      path: at(field),
      value: spec[field],
      message: 'contradicts start: false: the container is never started; drop one of the two',
      severity: 'error',
    });
  }
}

/** Why every host cannot answer on a port. */
function unfitForMesh({ hostIP, protocol }: PortMapping): string | undefined {
  if (hostIP !== undefined) {
    return 'publish: mesh answers on all addresses of every host: leave the address out';
  }
  return protocol === 'sctp' ? 'publish: mesh takes tcp and udp only' : undefined;
}

function validatePorts(spec: ServiceSpec, at: At, errors: FieldError[]): void {
  const seen: { port: PortMapping; value: string | number }[] = [];
  for (const [index, value] of (spec.ports ?? []).entries()) {
    const path = at('ports', index);
    for (const port of attempt(errors, path, value, () => parsePorts(value)) ?? []) {
      const unfit = spec.publish === 'mesh' ? unfitForMesh(port) : undefined;
      if (unfit !== undefined) {
        errors.push({ path, value, message: unfit, severity: 'error' });
        break;
      }
      const clash = seen.find((other) => samePublishedPort(other.port, port));
      seen.push({ port, value });
      if (clash === undefined) continue;
      errors.push({
        path,
        value,
        message: `publishes ${formatPort(port)}, whose host port is taken by ${JSON.stringify(clash.value)} of the same service: use another host port`,
        severity: 'error',
      });
      break;
    }
    if (seen.length > maxPorts) {
      errors.push({
        path,
        value,
        message: `makes ${String(seen.length)} ports of this service in all: at most ${String(maxPorts)} are possible`,
        severity: 'error',
      });
      return;
    }
  }
}

/** Whether both want the same port of one host: same number and protocol, and addresses that overlap. */
export function samePublishedPort(a: PortMapping, b: PortMapping): boolean {
  return (
    a.hostPort !== undefined &&
    a.hostPort === b.hostPort &&
    a.protocol === b.protocol &&
    (a.hostIP === b.hostIP || anyAddress(a.hostIP) || anyAddress(b.hostIP))
  );
}

function anyAddress(ip: string | undefined): boolean {
  return ip === undefined || ip === '0.0.0.0' || ip === '::';
}

function validateLinks(
  spec: ServiceSpec,
  at: At,
  errors: FieldError[],
  siblings: readonly string[] | undefined,
): void {
  const aliases = new Map<string, string>();
  for (const [index, value] of (spec.links ?? []).entries()) {
    const path = at('links', index);
    const link = attempt(errors, path, value, () => parseLink(value));
    if (link === undefined) continue;
    const called = link.project === undefined ? link.service : `${link.project}/${link.service}`;
    if (siblings !== undefined && link.project === undefined && !siblings.includes(link.service)) {
      errors.push({
        path,
        value,
        message: `there is no service ${JSON.stringify(link.service)} in this project: it has ${list(siblings)}`,
        severity: 'error',
      });
    }
    const taken = aliases.get(link.alias);
    if (taken !== undefined) {
      errors.push({
        path,
        value,
        message: `the name ${JSON.stringify(link.alias)} is given twice, to ${taken} and ${called}: use another alias, e.g. "${called}:${link.alias}2"`,
        severity: 'error',
      });
    } else if (
      (link.alias !== link.service || link.project !== undefined) &&
      siblings?.includes(link.alias) === true
    ) {
      errors.push({
        path,
        value,
        message: `hides the service ${JSON.stringify(link.alias)} from this one: use another alias if that is not meant`,
        severity: 'warning',
      });
    }
    aliases.set(link.alias, called);
  }
}

function validateResources(spec: ServiceSpec, at: At, errors: FieldError[]): void {
  const { limits, reservations } = spec.resources ?? {};
  const read = (part: 'limits' | 'reservations', field: 'cpus' | 'memory') => {
    const value = spec.resources?.[part]?.[field];
    if (value === undefined) return undefined;
    return attempt(errors, at('resources', part, field), value, () =>
      field === 'cpus' ? parseCpuQuantity(value) : parseByteSize(value),
    );
  };
  for (const [field, least, format] of [
    ['cpus', minCpuLimitMillis, formatCpuQuantity],
    ['memory', minMemoryLimitBytes, formatByteSize],
  ] as const) {
    const limit = read('limits', field);
    const reserved = read('reservations', field);
    if (limit === undefined) continue;
    const path = at('resources', 'limits', field);
    if (limit < least) {
      errors.push({
        path,
        value: limits?.[field],
        message: `the engine takes no limit below ${format(least)}`,
        severity: 'error',
      });
    }
    if (reserved !== undefined && limit < reserved) {
      errors.push({
        path,
        value: limits?.[field],
        message: `less than what is reserved (${String(reservations?.[field])}): raise the limit or lower the reservation`,
        severity: 'error',
      });
    }
  }
}

function isHostname(text: string): boolean {
  return (
    text.length <= 63 &&
    text.split('.').every((label) => /^[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?$/.test(label))
  );
}

/** Most names that a message lists. */
const maxListed = 10;

function list(names: readonly string[]): string {
  const shown = names.toSorted().slice(0, maxListed).join(', ');
  return names.length > maxListed ? `${shown} and ${String(names.length - maxListed)} more` : shown;
}
