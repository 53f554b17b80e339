import { definitionName, groupVersionKind, groupVersionOf, metaNames } from './definitions.ts';
import type { GroupVersionKind } from './definitions.ts';
import type { ApiKind } from './api-kind.ts';

export interface Parameter {
  readonly name: string;
  readonly in: 'path' | 'query';
  readonly type: 'string' | 'integer' | 'boolean';
  readonly description: string;
}

export interface Operation {
  readonly method: 'get' | 'post' | 'put' | 'patch' | 'delete';
  readonly action: string;
  readonly operationId: string;
  readonly description: string;
  readonly gvk: GroupVersionKind;
  readonly parameters: readonly Parameter[];
  /** Name of the definition of the body. */
  readonly body: string | undefined;
  readonly consumes: readonly string[];
  /** Name of the definition of a successful answer. */
  readonly answer: string;
  readonly created: boolean;
}

export interface PathItem {
  readonly path: string;
  readonly parameters: readonly Parameter[];
  readonly operations: readonly Operation[];
}

const query = (name: string, type: Parameter['type'], description: string): Parameter => ({
  name,
  in: 'query',
  type,
  description,
});
const inPath = (name: string, description: string): Parameter => ({
  name,
  in: 'path',
  type: 'string',
  description,
});

const pretty = query('pretty', 'string', 'If "true", then the output is pretty printed.');
const write = [
  query(
    'dryRun',
    'string',
    'When present, indicates that modifications should not be persisted. Valid values are: All (all dry run stages).',
  ),
  query(
    'fieldManager',
    'string',
    'A name associated with the actor or entity that is making these changes. At most 128 characters. Required for apply ' +
      'requests (application/apply-patch).',
  ),
  query(
    'fieldValidation',
    'string',
    'What the server does with unknown and duplicate fields: Ignore drops them, Warn (the default) drops them and sends a ' +
      'warning for each, Strict refuses the request.',
  ),
];
const force = query(
  'force',
  'boolean',
  'Re-acquire conflicting fields owned by other people. Only for apply requests.',
);
const listing = [
  query('allowWatchBookmarks', 'boolean', 'Requests watch events of type "BOOKMARK".'),
  query('continue', 'string', 'Continue a list from the token of the last answer.'),
  query('fieldSelector', 'string', 'Restricts the list of returned objects by their fields.'),
  query('labelSelector', 'string', 'Restricts the list of returned objects by their labels.'),
  query('limit', 'integer', 'The most items that a list call returns.'),
  query('resourceVersion', 'string', 'What resource versions a request may be served from.'),
  query('resourceVersionMatch', 'string', 'How resourceVersion is applied to list calls.'),
  query('sendInitialEvents', 'boolean', 'Begin a watch with the existing objects.'),
  query('timeoutSeconds', 'integer', 'Timeout for the list/watch call.'),
  query('watch', 'boolean', 'Watch for changes to the described resources.'),
];
const deletion = [
  ...write.slice(0, 1),
  query('gracePeriodSeconds', 'integer', 'The duration in seconds before the object is deleted.'),
  query('propagationPolicy', 'string', 'Orphan, Background or Foreground.'),
];

const anyBody = ['application/json', 'application/yaml'];

/** Every path of a kind: the collection, its objects, and their subresources. */
export function pathsOf(kind: ApiKind): PathItem[] {
  const root = kind.group === '' ? '/api/v1' : `/apis/${groupVersionOf(kind)}`;
  const namespaceParameter = inPath('namespace', 'Object name and auth scope, such as for teams.');
  const name = inPath('name', `Name of the ${kind.kind}.`);
  const scope = kind.namespaced ? [namespaceParameter] : [];
  const collection = kind.namespaced
    ? `${root}/namespaces/{namespace}/${kind.plural}`
    : `${root}/${kind.plural}`;
  const items: PathItem[] = [
    {
      path: collection,
      parameters: [...scope, pretty],
      operations: [list(kind, kind.namespaced), create(kind), deleteCollection(kind)],
    },
    {
      path: `${collection}/{name}`,
      parameters: [name, ...scope, pretty],
      operations: [...readAndWrite(kind, ''), remove(kind)],
    },
  ];
  for (const subresource of kind.subresources) {
    items.push({
      path: `${collection}/{name}/${subresource}`,
      parameters: [name, ...scope, pretty],
      operations: readAndWrite(kind, subresource),
    });
  }
  if (kind.namespaced) {
    items.push({
      path: `${root}/${kind.plural}`,
      parameters: [pretty],
      operations: [list(kind, false)],
    });
  }
  return items;
}

function base(
  kind: ApiKind,
  method: Operation['method'],
  action: string,
  suffix: string,
): Omit<Operation, 'description' | 'parameters' | 'answer'> {
  const group =
    kind.group === ''
      ? 'Core'
      : kind.group.replace(/(^|[.-])(.)/g, (_, __, c: string) => c.toUpperCase());
  const version = kind.version.replace(/^v/, 'V');
  return {
    method,
    action,
    operationId: `${action}${group}${version}${suffix}`,
    gvk: groupVersionKind(kind),
    body: undefined,
    consumes: [],
    created: false,
  };
}

function list(kind: ApiKind, namespaced: boolean): Operation {
  const everywhere = kind.namespaced && !namespaced ? 'ForAllNamespaces' : '';
  return {
    ...base(kind, 'get', 'list', `${namespaced ? 'Namespaced' : ''}${kind.kind}${everywhere}`),
    description: `list or watch objects of kind ${kind.kind}`,
    parameters: listing,
    answer: `${definitionName(kind)}List`,
  };
}

function create(kind: ApiKind): Operation {
  return {
    ...base(kind, 'post', 'create', scoped(kind)),
    action: 'post',
    description: `create ${article(kind)}`,
    parameters: write,
    body: definitionName(kind),
    consumes: anyBody,
    answer: definitionName(kind),
    created: true,
  };
}

function deleteCollection(kind: ApiKind): Operation {
  return {
    ...base(kind, 'delete', 'deletecollection', scoped(kind)),
    description: `delete collection of ${kind.kind}`,
    parameters: [...listing.filter(({ name }) => name.endsWith('Selector')), ...deletion],
    body: metaNames.deleteOptions,
    consumes: anyBody,
    answer: metaNames.status,
  };
}

function remove(kind: ApiKind): Operation {
  return {
    ...base(kind, 'delete', 'delete', scoped(kind)),
    description: `delete ${article(kind)}`,
    parameters: deletion,
    body: metaNames.deleteOptions,
    consumes: anyBody,
    answer: metaNames.status,
  };
}

function readAndWrite(kind: ApiKind, subresource: string): Operation[] {
  const scale = subresource === 'scale';
  const definition = scale ? metaNames.scale : definitionName(kind);
  const gvk = scale
    ? { group: 'autoscaling', version: 'v1', kind: 'Scale' }
    : groupVersionKind(kind);
  const suffix = scoped(kind) + subresource.replace(/^./, (c) => c.toUpperCase());
  const what = subresource === '' ? 'the specified' : `${subresource} of the specified`;
  const strategic = kind.group === '' || kind.group.endsWith('.k8s.io');
  const patches = [
    'application/json-patch+json',
    'application/merge-patch+json',
    ...(strategic ? ['application/strategic-merge-patch+json'] : []),
    'application/apply-patch+yaml',
  ];
  return [
    {
      ...base(kind, 'get', 'read', suffix),
      action: 'get',
      gvk,
      description: `read ${what} ${kind.kind}`,
      parameters: [],
      answer: definition,
    },
    {
      ...base(kind, 'put', 'replace', suffix),
      action: 'put',
      gvk,
      description: `replace ${what} ${kind.kind}`,
      parameters: write,
      body: definition,
      consumes: anyBody,
      answer: definition,
    },
    {
      ...base(kind, 'patch', 'patch', suffix),
      gvk,
      description: `partially update ${what} ${kind.kind}`,
      parameters: [...write, force],
      body: metaNames.patch,
      consumes: patches,
      answer: definition,
      created: subresource === '',
    },
  ];
}

function scoped(kind: ApiKind): string {
  return `${kind.namespaced ? 'Namespaced' : ''}${kind.kind}`;
}

function article(kind: ApiKind): string {
  return `${/^[AEIOU]/.test(kind.kind) ? 'an' : 'a'} ${kind.kind}`;
}
