import type { JsonSchema } from '../schema/types.ts';
import { integer, microTime, object, text, time } from './schema-builders.ts';

const reference = (description: string): JsonSchema =>
  object(
    description,
    {
      kind: text('Kind of the referent.'),
      namespace: text('Namespace of the referent.'),
      name: text('Name of the referent.'),
      uid: text('UID of the referent.'),
      apiVersion: text('API version of the referent.'),
      resourceVersion: text('Specific resourceVersion to which this reference is made, if any.'),
      fieldPath: text('A piece of the object instead of the entire object.'),
    },
    { 'x-kubernetes-map-type': 'atomic' },
  );

const source = (description: string): JsonSchema =>
  object(description, {
    component: text('Component from which the event is generated.'),
    host: text('Node name on which the event is generated.'),
  });

const series: JsonSchema = object(
  'Data about the Event series this event represents or nil if it is a singleton Event.',
  {
    count: integer('Number of occurrences in this series up to the last heartbeat time.'),
    lastObservedTime: microTime('Time of the last occurrence observed.'),
  },
);

const about =
  'Event is a report of an event somewhere in the cluster. Events have a limited retention time and triggers and messages ' +
  'may evolve with time. Events should be treated as informative, best-effort, supplemental data.';

/** core/v1 Event. */
export const coreEventSchema: JsonSchema = object(
  about,
  {
    involvedObject: reference('The object that this event is about.'),
    reason: text(
      "A short, machine understandable string that gives the reason for the transition into the object's current status.",
    ),
    message: text('A human-readable description of the status of this operation.'),
    source: source('The component reporting this event.'),
    firstTimestamp: time('The time at which the event was first recorded.'),
    lastTimestamp: time('The time at which the most recent occurrence of this event was recorded.'),
    count: integer('The number of times this event has occurred.'),
    type: text('Type of this event (Normal, Warning), new types could be added in the future.'),
    eventTime: microTime('Time when this Event was first observed.'),
    series,
    action: text('What action was taken or failed regarding the involved object.'),
    related: reference('Optional secondary object for more complex actions.'),
    reportingComponent: text('Name of the controller that emitted this Event.'),
    reportingInstance: text('ID of the controller instance.'),
  },
  { required: ['metadata', 'involvedObject'] },
);

/** events.k8s.io/v1 Event. */
export const eventSchema: JsonSchema = object(
  about,
  {
    eventTime: microTime('The time when this Event was first observed. It is required.'),
    series,
    reportingController: text(
      'The name of the controller that emitted this Event. Cannot be empty for new Events.',
    ),
    reportingInstance: text(
      'The ID of the controller instance. Cannot be empty for new Events; at most 128 characters.',
    ),
    action: text(
      'What action was taken or failed regarding the regarding object. Cannot be empty for new Events.',
    ),
    reason: text('Why the action was taken. Cannot be empty for new Events.'),
    regarding: reference('The object this Event is about.'),
    related: reference('The optional secondary object for more complex actions.'),
    note: text('A human-readable description of the status of this operation.'),
    type: text('Type of this event (Normal, Warning). Cannot be empty for new Events.'),
    deprecatedSource: source('For compatibility with core.v1 Event.'),
    deprecatedFirstTimestamp: time('For compatibility with core.v1 Event.'),
    deprecatedLastTimestamp: time('For compatibility with core.v1 Event.'),
    deprecatedCount: integer('For compatibility with core.v1 Event.'),
  },
  { required: ['eventTime'] },
);
