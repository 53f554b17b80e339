/**
 * Writes crds/*.yaml from the schemas in src/api/v1alpha1. With --check it writes nothing and fails when a file is
 * not what it would write.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { stringify } from 'yaml';
import { customResourceDefinitions } from '../src/api/v1alpha1/crd.ts';

const header =
  '# Made from src/api/v1alpha1 by hack/generate-crds.ts (make crds). Do not edit by hand.\n';

/**
 * File name → content of each CRD. Written for YAML 1.1, which kubectl reads: there a bare `no` is false, so it is quoted.
 */
export function renderCrds(): ReadonlyMap<string, string> {
  return new Map(
    customResourceDefinitions().map((crd) => [
      `${crd.metadata.name}.yaml`,
      header + stringify(crd, { lineWidth: 120, aliasDuplicateObjects: false, version: '1.1' }),
    ]),
  );
}

function main(directory: string, check: boolean): number {
  let stale = 0;
  mkdirSync(directory, { recursive: true });
  for (const [name, content] of renderCrds()) {
    const path = join(directory, name);
    if (!check) {
      writeFileSync(path, content);
      continue;
    }
    if (read(path) === content) continue;
    stale += 1;
    console.error(`${path} is not current: run make crds`);
  }
  return stale;
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const directory = join(import.meta.dirname, '..', 'crds');
  process.exitCode = main(directory, process.argv.includes('--check')) === 0 ? 0 : 1;
}
