import { attempt } from './attempt.ts';
import type { PortMapping } from './container-spec.ts';
import { validateBonds } from './bonds.ts';
import { fieldPath, type FieldError } from './field-error.ts';
import type { ObjectMeta } from './meta.ts';
import { dnsLabelPattern, isDnsLabel, maxLabelLength } from './names.ts';
import { parsePorts } from './port-string.ts';
import type { ProjectSpec } from './project.ts';
import type { ServiceSpec } from './service-spec.ts';
import { validateJobsTogether, validateRunNames } from './validate-jobs.ts';
import { validatePlacementsTogether } from './validate-placement.ts';
import { samePublishedPort, validateServiceSpec } from './validate-service-spec.ts';
import { validateProjectParts } from './validate-volumes.ts';

/**
 * What is wrong with a Project beyond its schema, or probably not meant (`severity: 'warning'`).
 * Empty when all is well. The order is that of the fields.
 */
export function validateProject(project: {
  readonly metadata: Pick<ObjectMeta, 'name'>;
  readonly spec: ProjectSpec;
}): FieldError[] {
  const { name } = project.metadata;
  const errors = validateObjectName(name, 'project');
  const services = Object.entries(project.spec.services);
  const siblings = services.map(([service]) => service);
  for (const [service, spec] of services) {
    const path = ['spec', 'services', service];
    if (!isDnsLabel(service)) {
      errors.push({
        path: fieldPath(...path),
        value: service,
        message:
          'names of services are made of lower-case letters, digits and "-", beginning and ending with a letter or digit, e.g. redis-master',
        severity: 'error',
      });
    }
    if (spec.network !== undefined) {
      errors.push({
        path: fieldPath(...path, 'network'),
        value: service,
        message:
          'in a Project, isolation is the same for all its services: say it once, under spec.network',
        severity: 'error',
      });
    }
    errors.push(
      ...validateInstanceNames(`${name}-${service}`, spec, fieldPath(...path)),
      ...validateRunNames(`${name}-${service}`, spec, fieldPath(...path)),
      ...validateInstanceClash(service, siblings, fieldPath(...path)),
      ...validateServiceSpec(spec, path, siblings),
    );
  }
  errors.push(
    ...validateProjectParts(project.spec, (...segments) => fieldPath('spec', ...segments)),
  );
  errors.push(...validatePlacementsTogether(name, services));
  errors.push(...validateBonds(services));
  errors.push(...validateJobsTogether(project.spec));
  // Only among ports whose number is known to be bearable: this runs in the operator, on what anybody may apply.
  if (!errors.some((error) => error.severity === 'error'))
    errors.push(...sharedHostPorts(services));
  return errors;
}

/** The same for a Service. What its links name is not checked: it may be owned by a Project that knows, or not. */
export function validateService(service: {
  readonly metadata: Pick<ObjectMeta, 'name'>;
  readonly spec: ServiceSpec;
}): FieldError[] {
  const { name } = service.metadata;
  return [
    ...validateObjectName(name, 'service'),
    ...validateInstanceNames(name, service.spec, 'metadata.name'),
    ...validateRunNames(name, service.spec, 'metadata.name'),
    ...validateServiceSpec(service.spec, ['spec']),
  ];
}

function validateObjectName(name: string, what: string): FieldError[] {
  // The length is checked with the names of the instances, which are longer.
  if (dnsLabelPattern.test(name)) return [];
  return [
    {
      path: 'metadata.name',
      value: name,
      message: `the name of a ${what} becomes part of host names: use lower-case letters, digits and "-" only`,
      severity: 'error',
    },
  ];
}

function validateInstanceNames(base: string, spec: ServiceSpec, path: string): FieldError[] {
  const longest = `${base}-${String(Math.max(1, spec.replicas))}`;
  if (longest.length <= maxLabelLength) return [];
  return [
    {
      path,
      value: longest,
      message:
        `instances would be called so, which is ${String(longest.length)} characters long and may be at most ` +
        `${String(maxLabelLength)}: shorten the name of the project or of the service`,
      severity: 'error',
    },
  ];
}

/** `web-2` names the second instance of `web`: a service of that name could not be told from it. */
function validateInstanceClash(
  service: string,
  siblings: readonly string[],
  path: string,
): FieldError[] {
  const other = /^(.+)-[1-9]\d*$/.exec(service)?.[1];
  if (other === undefined || !siblings.includes(other)) return [];
  return [
    {
      path,
      value: service,
      message: `is also the name of an instance of the service ${JSON.stringify(other)}: name it otherwise, e.g. "${service.replaceAll('-', '')}"`,
      severity: 'error',
    },
  ];
}

/** Legal, but it needs a host for each: said once for a pair of services. */
function sharedHostPorts(services: readonly (readonly [string, ServiceSpec])[]): FieldError[] {
  const warnings: FieldError[] = [];
  const published = new Map<string, { service: string; port: PortMapping }[]>();
  const said = new Set<string>();
  for (const [service, spec] of services) {
    for (const [index, value] of (spec.ports ?? []).entries()) {
      const path = fieldPath('spec', 'services', service, 'ports', index);
      // What cannot be read has been said already.
      for (const port of attempt([], path, value, () => parsePorts(value)) ?? []) {
        if (port.hostPort === undefined) continue;
        const key = `${String(port.hostPort)}/${port.protocol}`;
        const others = published.get(key) ?? [];
        const clash = others.find(
          (other) => other.service !== service && samePublishedPort(other.port, port),
        );
        others.push({ service, port });
        published.set(key, others);
        if (clash === undefined || said.has(`${clash.service} ${service}`)) continue;
        said.add(`${clash.service} ${service}`);
        warnings.push({
          path,
          value,
          message: `the service ${JSON.stringify(clash.service)} publishes host port ${key} too: their instances never share a host`,
          severity: 'warning',
        });
      }
    }
  }
  return warnings;
}
