import { isObject, type JsonObject } from '../../api/json.ts';
import type { FieldCause } from '../errors/api-error.ts';
import { invalidValue, requiredValue } from '../objects/metadata.ts';
import { pathSegmentError } from '../objects/names.ts';
import type { KubeObject } from '../objects/object.ts';
import { getPath } from '../objects/path.ts';
import { age } from './age.ts';
import { nameColumn } from './columns.ts';
import type { Column, Strategy } from './resource.ts';

/**
 * Events are one set of records in two forms: `v1`, in which they are stored, and `events.k8s.io/v1`.
 * Source: k8s.io/kubernetes/pkg/apis/events/v1/conversion.go.
 */
const renamed: readonly (readonly [core: string, newer: string])[] = [
  ['involvedObject', 'regarding'],
  ['message', 'note'],
  ['reportingComponent', 'reportingController'],
  ['source', 'deprecatedSource'],
  ['firstTimestamp', 'deprecatedFirstTimestamp'],
  ['lastTimestamp', 'deprecatedLastTimestamp'],
  ['count', 'deprecatedCount'],
];

function rename(object: KubeObject, apiVersion: string, toCore: boolean): KubeObject {
  const result: KubeObject = { ...object, apiVersion };
  for (const [core, newer] of renamed) {
    const [from, to] = toCore ? [newer, core] : [core, newer];
    if (result[from] !== undefined) result[to] = result[from];
    Reflect.deleteProperty(result, from);
  }
  return result;
}

/** Times with whole seconds, as metav1.Time; MicroTime keeps six digits. */
function wholeSeconds(object: KubeObject, members: readonly string[]): void {
  for (const member of members) {
    const value = object[member];
    if (value === null) Reflect.deleteProperty(object, member);
    if (typeof value !== 'string') continue;
    const at = Date.parse(value);
    if (!Number.isNaN(at)) object[member] = `${new Date(at).toISOString().slice(0, 19)}Z`;
  }
}

function validateNamespace(object: KubeObject, member: string): FieldCause[] {
  const subject = object[member];
  const namespace = isObject(subject) ? subject['namespace'] : undefined;
  const own = object.metadata.namespace;
  const about = typeof namespace === 'string' ? namespace : '';
  // Events about cluster-scoped objects live in the default namespace, or where the reporter likes.
  if (about === '' || about === own) return [];
  return [invalidValue(`${member}.namespace`, about, 'does not match event.namespace')];
}

export const coreEventStrategy: Strategy = {
  prepareCreate: (object) => {
    wholeSeconds(object, ['firstTimestamp', 'lastTimestamp']);
  },
  prepareUpdate: (object) => {
    wholeSeconds(object, ['firstTimestamp', 'lastTimestamp']);
  },
  validate: (object) => validateNamespace(object, 'involvedObject'),
  validateName: pathSegmentError,
};

export const newEventStrategy: Strategy = {
  prepareCreate: (object) => {
    wholeSeconds(object, ['deprecatedFirstTimestamp', 'deprecatedLastTimestamp']);
  },
  prepareUpdate: (object) => {
    wholeSeconds(object, ['deprecatedFirstTimestamp', 'deprecatedLastTimestamp']);
  },
  validate: (object, old) => [
    ...validateNamespace(object, 'regarding'),
    ...(old === undefined ? validateNewEvent(object) : []),
  ],
  toStorage: (object) => rename(object, 'v1', true),
  fromStorage: (object) =>
    object.apiVersion === 'v1' ? rename(object, 'events.k8s.io/v1', false) : object,
};

function validateNewEvent(object: KubeObject): FieldCause[] {
  const causes: FieldCause[] = [];
  for (const member of [
    'eventTime',
    'reportingController',
    'reportingInstance',
    'action',
    'reason',
    'type',
  ]) {
    const value = object[member];
    if (typeof value !== 'string' || value === '') causes.push(requiredValue(member));
  }
  const type = object['type'];
  if (typeof type === 'string' && type !== '' && type !== 'Normal' && type !== 'Warning') {
    causes.push(invalidValue('type', type, 'has invalid value'));
  }
  return causes;
}

const subjectFields = [
  'kind',
  'namespace',
  'name',
  'uid',
  'apiVersion',
  'resourceVersion',
  'fieldPath',
];

/** Field selectors of events. */
export function eventSelectable(newer: boolean): ReadonlyMap<string, readonly string[]> {
  const subject = newer ? 'regarding' : 'involvedObject';
  const fields = new Map<string, readonly string[]>(
    subjectFields.map((field) => [`${subject}.${field}`, [subject, field]]),
  );
  fields.set('reason', ['reason']);
  fields.set('type', ['type']);
  if (newer) fields.set('reportingController', ['reportingController']);
  else {
    fields.set('reportingComponent', ['reportingComponent']);
    fields.set('source', ['source', 'component']);
  }
  return fields;
}

/** The columns of `kubectl get events`. Source: k8s.io/kubernetes/pkg/printers/internalversion. */
export function eventColumns(newer: boolean): Column[] {
  const core = (object: KubeObject): KubeObject => (newer ? rename(object, 'v1', true) : object);
  const column = (
    name: string,
    priority: number,
    read: Column['read'],
    type = 'string',
  ): Column => ({
    name,
    type,
    format: '',
    description: '',
    priority,
    read: (object, now) => read(core(object), now),
  });
  return [
    column('Last Seen', 0, (event, now) => age(lastSeen(event), now)),
    column('Type', 0, (event) => text(event, ['type'])),
    column('Reason', 0, (event) => text(event, ['reason'])),
    column('Object', 0, (event) => {
      const kind = text(event, ['involvedObject', 'kind']).toLowerCase();
      const name = text(event, ['involvedObject', 'name']);
      return name === '' ? kind : `${kind}/${name}`;
    }),
    column('Subobject', 1, (event) => text(event, ['involvedObject', 'fieldPath'])),
    column('Source', 1, (event) => {
      const component = text(event, ['source', 'component']) || text(event, ['reportingComponent']);
      const host = text(event, ['source', 'host']);
      return host === '' ? component : `${component}, ${host}`;
    }),
    column('Message', 0, (event) => text(event, ['message']).trim()),
    column('First Seen', 1, (event, now) =>
      age(event['firstTimestamp'] ?? event['eventTime'], now),
    ),
    column(
      'Count',
      1,
      (event) => {
        const series = getPath(event, ['series', 'count']);
        const count = typeof series === 'number' ? series : event['count'];
        return typeof count === 'number' && count > 0 ? count : 1;
      },
      'integer',
    ),
    { ...nameColumn, priority: 1 },
  ];
}

/** When an event (in core form) was last seen. */
export function lastSeen(event: JsonObject): unknown {
  return (
    getPath(event, ['series', 'lastObservedTime']) ??
    event['lastTimestamp'] ??
    event['firstTimestamp'] ??
    event['eventTime']
  );
}

function text(object: JsonObject, path: readonly string[]): string {
  const value = getPath(object, path);
  return typeof value === 'string' ? value : '';
}
