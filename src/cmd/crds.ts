import { parse } from 'yaml';
import hosts from '../../crds/hosts.nap.dev.yaml';
import projects from '../../crds/projects.nap.dev.yaml';
import services from '../../crds/services.nap.dev.yaml';

/** The CustomResourceDefinitions of nap's kinds, from the generated files: bundled into the binary. */
export function crds(): Record<string, unknown>[] {
  return [projects, services, hosts].map((text) => parse(text) as Record<string, unknown>);
}
