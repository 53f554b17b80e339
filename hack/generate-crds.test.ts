import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { parse } from 'yaml';
import { customResourceDefinitions } from '../src/api/v1alpha1/crd.ts';
import { renderCrds } from './generate-crds.ts';

const directory = join(import.meta.dirname, '..', 'crds');

it('the committed CRDs are current', () => {
  for (const [name, content] of renderCrds()) {
    expect(readFileSync(join(directory, name), 'utf8'), `${name}: run make crds`).toBe(content);
  }
});

it.each(['1.1', '1.2'] as const)('means the same to readers of YAML %s', (version) => {
  const read = [...renderCrds().values()].map((content): unknown => parse(content, { version }));
  expect(read).toEqual(JSON.parse(JSON.stringify(customResourceDefinitions())));
});
