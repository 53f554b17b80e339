import { plainOrdinal } from '../api/v1alpha1/seat.ts';
import { instanceName, type ServiceIdentity } from '../api/v1alpha1/names.ts';
import type { InstanceRecord } from '../registry/records/index.ts';

/** Something that has happened to an instance and that its user should hear of. */
export interface InstanceNews {
  readonly type: 'Normal' | 'Warning';
  readonly reason: string;
  readonly message: string;
}

/** Ends that are announced though the instance is not started again. */
const sadEnds: ReadonlySet<string | undefined> = new Set([
  'Error',
  'Killed',
  'OOMKilled',
  'Unhealthy',
  'StartLimitHit',
]);

/** Starts that came to nothing, and hooks of a stop that failed. */
const hookTroubles: ReadonlySet<string | undefined> = new Set([
  'StartPreFailed',
  'StartPostFailed',
  'StartTimeout',
  'StopHookFailed',
  'StopPostFailed',
]);

/**
 * What the difference between two reports of one instance says, for Events. Pure. Texts leave out what differs
 * from time to time (how long the run was), so that the same thing happening again is the same event with a higher count.
 *
 * @param before undefined: first seen, of which nothing follows: the operator may just have started.
 */
export function instanceNews(
  identity: ServiceIdentity,
  key: { readonly ordinal: string; readonly host: string },
  before: InstanceRecord | undefined,
  after: InstanceRecord,
): InstanceNews[] {
  if (before?.id !== after.id) return [];
  const name = instanceName({ ...identity, ordinal: plainOrdinal(key.ordinal) });
  const where = `${name} on ${key.host}`;
  const news: InstanceNews[] = [];
  const because = after.message === undefined ? '' : `: ${after.message}`;
  if (after.health !== before.health) {
    if (after.health === 'unhealthy') {
      news.push({ type: 'Warning', reason: 'Unhealthy', message: where + because });
    } else if (after.health === 'healthy' && before.health === 'unhealthy') {
      news.push({ type: 'Normal', reason: 'Healthy', message: `${where} is healthy again` });
    }
  } else if ((after.flaps ?? 0) > (before.flaps ?? 0) && after.containerId === before.containerId) {
    // It was unhealthy for so short a time that only the counter tells.
    news.push({
      type: 'Warning',
      reason: 'Unhealthy',
      message: `${where} was unhealthy for a moment`,
    });
  }
  news.push(...templateNews(where, before, after));
  if (after.restarts > before.restarts) {
    const why = whyRestarted(before, after);
    news.push({ type: 'Warning', reason: 'Restarted', message: `${where}${why}` });
  }
  if (after.reason !== before.reason && sadEnds.has(after.reason) && isDown(after)) {
    const reason = after.reason === 'StartLimitHit' ? 'StartLimitHit' : 'Ended';
    news.push({ type: 'Warning', reason, message: `${where}${steady(because)}` });
  }
  if (hookTroubles.has(after.reason) && !sameTrouble(before, after)) {
    const reason = after.reason ?? '';
    news.push({ type: 'Warning', reason, message: `${where}${steady(because)}` });
  }
  return news;
}

/** Reports may differ in the pause alone. */
function sameTrouble(before: InstanceRecord, after: InstanceRecord): boolean {
  return before.reason === after.reason && before.message === after.message;
}

/** A file that follows services and could not be brought up to date, and that it has been after all. */
function templateNews(
  where: string,
  before: InstanceRecord,
  after: InstanceRecord,
): InstanceNews[] {
  const troubled = ({ reason }: InstanceRecord): boolean => reason?.startsWith('Template') === true;
  if (troubled(after)) {
    if (sameTrouble(before, after)) return [];
    const { reason = '', message = '' } = after;
    return [{ type: 'Warning', reason, message: `${where}: ${steady(message)}` }];
  }
  if (!troubled(before) || after.phase !== 'Running') return [];
  return [{ type: 'Normal', reason: 'TemplateApplied', message: `${where} has its files again` }];
}

function isDown({ phase }: InstanceRecord): boolean {
  return phase === 'Exited' || phase === 'Failed';
}

/** Of the reports before and after a restart, one tells how the last run ended. */
function whyRestarted(before: InstanceRecord, after: InstanceRecord): string {
  if (before.health === 'unhealthy' || before.reason === 'Unhealthy') return ': it was unhealthy';
  const text = [before, after].find(({ message }) => message !== undefined && ends.test(message));
  return text?.message === undefined ? '' : steady(`: ${text.message}`);
}

const ends = /exited with code|killed for lack of memory/;

/** Without how long it ran and how long the pause is. */
function steady(text: string): string {
  return text
    .replace(/ after [\d.]+ (s|min)/, '')
    .replace(/; next start in .*$/, '')
    .replace(/ before this run$/, '');
}
