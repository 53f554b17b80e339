import { instanceName } from '../api/v1alpha1/names.ts';
import type { EventRecorder } from '../kube/events.ts';
import type { ObjectReference } from '../kube/resources.ts';
import { controllerOf } from './identity.ts';
import type { Change } from './placement/allocate.ts';
import { ordinalOf, type Step } from './placement/step.ts';
import type { ServiceWish } from './service/desired.ts';

/** Most instances that one event names. */
const mostNamed = 8;

interface Wording {
  readonly type: 'Normal' | 'Warning';
  readonly reason: string;
  /** Also told on the Project: what a user who only looks there has to know. */
  readonly onProject?: boolean;
  say(name: string, change: Change): string;
}

const from = (step: Step): string => (step.type === 'create' ? '?' : step.placed.host);

/** By the step's type and reason; what is not here is nobody's news. */
const wordings: Readonly<Record<string, Wording>> = {
  'create ScaledUp': {
    type: 'Normal',
    reason: 'Scheduled',
    say: (name, change) => `${name} on ${change.host ?? '?'}`,
  },
  'create Retried': {
    type: 'Normal',
    reason: 'Retried',
    say: (name, change) => `${name} on ${change.host ?? '?'}, after a try that failed`,
  },
  'replace Retried': {
    type: 'Normal',
    reason: 'Retried',
    say: (name, change) => `${name} on ${change.host ?? '?'}, after a try that failed`,
  },
  'remove JobFailed': {
    type: 'Normal',
    reason: 'Stopped',
    say: (name, change) => `${name} on ${from(change.step)}, since the job has failed`,
  },
  'replace HostLost': {
    type: 'Warning',
    reason: 'Moved',
    onProject: true,
    say: (name, change) =>
      `${name} from ${from(change.step)}, which is lost, to ${change.host ?? '?'}`,
  },
  'replace HostDrained': {
    type: 'Normal',
    reason: 'Drained',
    say: (name, change) =>
      `${name} from ${from(change.step)}, which is drained, to ${change.host ?? '?'}`,
  },
  'accompany HostDrained': {
    type: 'Normal',
    reason: 'Drained',
    say: (name, change) =>
      `${name} from ${from(change.step)}, which is drained, to ${change.host ?? '?'} (started there first)`,
  },
  'accompany Rebalanced': {
    type: 'Normal',
    reason: 'Rebalanced',
    say: (name, change) =>
      `${name} from ${from(change.step)} to ${change.host ?? '?'} (started there first)`,
  },
  'replace Rebalanced': {
    type: 'Normal',
    reason: 'Rebalanced',
    say: (name, change) => `${name} from ${from(change.step)} to ${change.host ?? '?'}`,
  },
  'remove HostExcluded': {
    type: 'Normal',
    reason: 'HostExcluded',
    say: (name, change) => `${name} from ${from(change.step)}, which is none of its hosts any more`,
  },
  'replace RulesChanged': {
    type: 'Normal',
    reason: 'Moved',
    say: (name, change) =>
      `${name} from ${from(change.step)}, which its placement rules exclude now, to ${change.host ?? '?'}`,
  },
  'replace SpecChanged': {
    type: 'Normal',
    reason: 'Updated',
    say: (name, change) => `${name} on ${change.host ?? '?'}`,
  },
  'replace Following': {
    type: 'Normal',
    reason: 'Restarted',
    say: (name, change) => `${name} on ${change.host ?? '?'}, after a service that it depends on`,
  },
  'accompany Following': {
    type: 'Normal',
    reason: 'Restarting',
    say: (name, change) => `${name}: its successor starts on ${change.host ?? '?'}`,
  },
  'accompany SpecChanged': {
    type: 'Normal',
    reason: 'Updating',
    say: (name, change) => `${name}: its successor starts on ${change.host ?? '?'}`,
  },
  'accompany RulesChanged': {
    type: 'Normal',
    reason: 'Moving',
    say: (name, change) =>
      `${name} from ${from(change.step)}, which its placement rules exclude now, to ${change.host ?? '?'}`,
  },
  'finish Updated': {
    type: 'Normal',
    reason: 'Updated',
    say: (name, change) => `${name} on ${change.host ?? '?'}`,
  },
  'remove Superseded': {
    type: 'Normal',
    reason: 'Superseded',
    say: (name, change) => `${name} on ${from(change.step)}, since the spec changed once more`,
  },
  'remove ScaledDown': {
    type: 'Normal',
    reason: 'ScaledDown',
    say: (name, change) => `${name} on ${from(change.step)}`,
  },
  'remove Duplicate': {
    type: 'Warning',
    reason: 'DuplicateRemoved',
    say: (name, change) => `${name} on ${from(change.step)}`,
  },
  'rewrite Unreadable': {
    type: 'Warning',
    reason: 'RecordRepaired',
    say: (name, change) => `the unreadable placement record of ${name} on ${from(change.step)}`,
  },
};

/** Reports decisions about one service as events: one for each kind of decision, naming the first few instances. */
export function announceDecisions(
  events: Pick<EventRecorder, 'record'>,
  wish: ServiceWish,
  changes: readonly Change[],
): void {
  const groups = new Map<string, Change[]>();
  for (const change of changes) {
    const kind = `${change.step.type} ${change.step.reason}`;
    const group = groups.get(kind);
    if (group === undefined) groups.set(kind, [change]);
    else group.push(change);
  }
  const behind = changes.filter((change) => change.leftBehind !== undefined);
  if (behind.length > 0) {
    const said = behind.slice(0, mostNamed).map(({ step, host, leftBehind }) => {
      const name = instanceName({ ...wish.identity, ordinal: String(ordinalOf(step)) });
      return `${name} starts without its data on ${host ?? '?'}: its volumes ${leftBehind?.volumes.join(', ') ?? ''} stay behind on ${leftBehind?.host ?? '?'}`;
    });
    const more = behind.length > mostNamed ? ` and ${String(behind.length - mostNamed)} more` : '';
    const project = projectOf(wish);
    for (const object of [wish.object, ...(project === undefined ? [] : [project])]) {
      events.record(object, 'Warning', 'DataLeftBehind', said.join('; ') + more);
    }
  }
  for (const [kind, group] of groups) {
    const wording = wordings[kind];
    if (wording === undefined) continue;
    const said = group.slice(0, mostNamed).map((change) => {
      const ordinal = String(ordinalOf(change.step));
      return wording.say(instanceName({ ...wish.identity, ordinal }), change);
    });
    const more = group.length > mostNamed ? ` and ${String(group.length - mostNamed)} more` : '';
    const message = said.join(', ') + more;
    events.record(wish.object, wording.type, wording.reason, message);
    const fallback = wish.want.type === 'run' ? wish.want.instances.update?.fallback : undefined;
    if (kind === 'replace SpecChanged' && fallback !== undefined) {
      events.record(wish.object, 'Warning', 'StartFirstNotPossible', `updating ${fallback}`);
    }
    const project = wording.onProject === true ? projectOf(wish) : undefined;
    if (project !== undefined) events.record(project, wording.type, wording.reason, message);
  }
}

function projectOf(wish: ServiceWish): ObjectReference | undefined {
  const owner = controllerOf(wish.object.metadata);
  if (owner?.kind !== 'Project') return undefined;
  const { apiVersion, kind, name, uid } = owner;
  return { apiVersion, kind, name, uid, namespace: wish.identity.namespace };
}
