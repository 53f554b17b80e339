import { isObject, type JsonObject } from '../../api/json.ts';
import { splitPath } from '../objects/path.ts';
import { compileSchema } from '../schema/structural.ts';
import type { JsonSchema } from '../schema/types.ts';
import { printerColumns } from './columns.ts';
import { allVerbs, type Resource, type ScalePaths } from './resource.ts';

/** A CustomResourceDefinition that cannot be served. */
export class CrdError extends Error {
  override readonly name = 'CrdError';
  readonly retryable = false;
}

/** The served versions of a CustomResourceDefinition as resources. Throws CrdError when something needed is missing. */
export function customResources(crd: JsonObject): Resource[] {
  const spec = member(crd, 'spec');
  const names = member(spec, 'names');
  const group = text(spec, 'group');
  const plural = text(names, 'plural');
  const kind = text(names, 'kind');
  const versions = spec['versions'];
  if (!Array.isArray(versions))
    throw new CrdError(`CRD ${plural}.${group}: spec.versions is missing`);
  return (versions as unknown[])
    .filter(isObject)
    .filter((version) => version['served'] === true)
    .map((version) => {
      const schema = member(member(version, 'schema'), 'openAPIV3Schema') as JsonSchema;
      const subresources = isObject(version['subresources']) ? version['subresources'] : {};
      return {
        group,
        version: text(version, 'name'),
        plural,
        singular: optionalText(names, 'singular') ?? kind.toLowerCase(),
        kind,
        listKind: optionalText(names, 'listKind') ?? `${kind}List`,
        shortNames: texts(names['shortNames']),
        categories: texts(names['categories']),
        namespaced: spec['scope'] !== 'Cluster',
        verbs: allVerbs,
        status: isObject(subresources['status']),
        scale: isObject(subresources['scale']) ? scalePaths(subresources['scale']) : undefined,
        schema,
        compiled: compileSchema(schema),
        columns: printerColumns(version['additionalPrinterColumns']),
        custom: true,
        storage: `${group}/${plural}`,
        selectable: selectableFields(version['selectableFields']),
        strategy: {},
      };
    });
}

function scalePaths(scale: JsonObject): ScalePaths {
  const selector = optionalText(scale, 'labelSelectorPath');
  return {
    specReplicas: splitPath(text(scale, 'specReplicasPath')),
    statusReplicas: splitPath(text(scale, 'statusReplicasPath')),
    labelSelector: selector === undefined ? undefined : splitPath(selector),
  };
}

function selectableFields(fields: unknown): ReadonlyMap<string, readonly string[]> {
  if (!Array.isArray(fields)) return new Map();
  return new Map(
    (fields as unknown[]).filter(isObject).map((field) => {
      const path = splitPath(text(field, 'jsonPath'));
      return [path.join('.'), path];
    }),
  );
}

function member(object: JsonObject, name: string): JsonObject {
  const value = object[name];
  if (!isObject(value)) throw new CrdError(`CRD: ${name} is missing`);
  return value;
}

function optionalText(object: JsonObject, name: string): string | undefined {
  const value = object[name];
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function text(object: JsonObject, name: string): string {
  const value = optionalText(object, name);
  if (value === undefined) throw new CrdError(`CRD: ${name} is missing`);
  return value;
}

function texts(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : [];
}
