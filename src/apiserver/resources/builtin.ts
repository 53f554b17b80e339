import { builtinKinds } from '../openapi/builtin-schemas.ts';
import { compileSchema } from '../schema/structural.ts';
import type { JsonSchema } from '../schema/types.ts';
import { ageColumn, nameColumn } from './columns.ts';
import { coreEventStrategy, eventColumns, eventSelectable, newEventStrategy } from './events.ts';
import { allVerbs, type Column, type Resource, type Strategy, type Verb } from './resource.ts';
import {
  configMapStrategy,
  leaseStrategy,
  namespaceStrategy,
  secretStrategy,
} from './strategies.ts';
import { getPath } from '../objects/path.ts';

/** A built-in kind, as far as it differs from the plainest one. */
interface Builtin {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly singular: string;
  readonly kind: string;
  readonly shortNames?: readonly string[];
  readonly namespaced: boolean;
  readonly verbs?: readonly Verb[];
  readonly status?: boolean;
  readonly columns: readonly Column[];
  readonly storage: string;
  readonly selectable?: ReadonlyMap<string, readonly string[]>;
  readonly strategy?: Strategy;
}

const anything: JsonSchema = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };

const column = (name: string, type: string, read: Column['read'], priority = 0): Column => ({
  name,
  type,
  format: '',
  description: '',
  priority,
  read,
});

const textAt =
  (...path: string[]): Column['read'] =>
  (object) => {
    const value = getPath(object, path);
    return typeof value === 'string' ? value : '';
  };

const sizeAt =
  (...members: string[]): Column['read'] =>
  (object) =>
    members.reduce((sum, member) => sum + Object.keys(object[member] ?? {}).length, 0);

const builtins: readonly Builtin[] = [
  {
    group: '',
    version: 'v1',
    plural: 'namespaces',
    singular: 'namespace',
    kind: 'Namespace',
    shortNames: ['ns'],
    namespaced: false,
    verbs: allVerbs.filter((verb) => verb !== 'deletecollection'),
    status: true,
    columns: [nameColumn, column('Status', 'string', textAt('status', 'phase')), ageColumn],
    storage: 'core/namespaces',
    selectable: new Map([['status.phase', ['status', 'phase']]]),
    strategy: namespaceStrategy,
  },
  {
    group: '',
    version: 'v1',
    plural: 'events',
    singular: 'event',
    kind: 'Event',
    shortNames: ['ev'],
    namespaced: true,
    columns: eventColumns(false),
    storage: 'core/events',
    selectable: eventSelectable(false),
    strategy: coreEventStrategy,
  },
  {
    group: 'events.k8s.io',
    version: 'v1',
    plural: 'events',
    singular: 'event',
    kind: 'Event',
    shortNames: ['ev'],
    namespaced: true,
    columns: eventColumns(true),
    storage: 'core/events',
    selectable: eventSelectable(true),
    strategy: newEventStrategy,
  },
  {
    group: '',
    version: 'v1',
    plural: 'configmaps',
    singular: 'configmap',
    kind: 'ConfigMap',
    shortNames: ['cm'],
    namespaced: true,
    columns: [nameColumn, column('Data', 'string', sizeAt('data', 'binaryData')), ageColumn],
    storage: 'core/configmaps',
    strategy: configMapStrategy,
  },
  {
    group: '',
    version: 'v1',
    plural: 'secrets',
    singular: 'secret',
    kind: 'Secret',
    namespaced: true,
    columns: [
      nameColumn,
      column('Type', 'string', textAt('type')),
      column('Data', 'string', sizeAt('data')),
      ageColumn,
    ],
    storage: 'core/secrets',
    selectable: new Map([['type', ['type']]]),
    strategy: secretStrategy,
  },
  {
    group: '',
    version: 'v1',
    plural: 'serviceaccounts',
    singular: 'serviceaccount',
    kind: 'ServiceAccount',
    shortNames: ['sa'],
    namespaced: true,
    columns: [
      nameColumn,
      column('Secrets', 'string', (object) => {
        const secrets = object['secrets'];
        return Array.isArray(secrets) ? secrets.length : 0;
      }),
      ageColumn,
    ],
    storage: 'core/serviceaccounts',
  },
  {
    group: 'coordination.k8s.io',
    version: 'v1',
    plural: 'leases',
    singular: 'lease',
    kind: 'Lease',
    namespaced: true,
    columns: [nameColumn, column('Holder', 'string', textAt('spec', 'holderIdentity')), ageColumn],
    storage: 'coordination.k8s.io/leases',
    strategy: leaseStrategy,
  },
  {
    group: 'apiextensions.k8s.io',
    version: 'v1',
    plural: 'customresourcedefinitions',
    singular: 'customresourcedefinition',
    kind: 'CustomResourceDefinition',
    shortNames: ['crd', 'crds'],
    namespaced: false,
    verbs: ['get', 'list', 'watch'],
    columns: [
      nameColumn,
      column('Created At', 'date', (object) => object.metadata.creationTimestamp ?? ''),
    ],
    storage: 'apiextensions.k8s.io/customresourcedefinitions',
  },
];

/** The built-in kinds that are served beside the custom ones. */
export function builtinResources(): Resource[] {
  return builtins.map((builtin) => {
    const known = builtinKinds.find(
      ({ group, version, kind }) =>
        group === builtin.group && version === builtin.version && kind === builtin.kind,
    );
    const schema = known?.schema ?? anything;
    return {
      shortNames: [],
      categories: [],
      verbs: allVerbs,
      status: false,
      selectable: new Map(),
      strategy: {},
      ...builtin,
      listKind: `${builtin.kind}List`,
      scale: undefined,
      schema,
      compiled: compileSchema(schema),
      custom: false,
    };
  });
}
