import { Cron } from 'croner';
import { InvalidValueError } from './invalid-value.ts';

/** When a schedule fires. */
export interface CronTimes {
  /** The first time after this one; undefined: never again. Milliseconds since the epoch. */
  next(afterMs: number): number | undefined;
  /** The last time before or at this one; undefined: none. */
  previous(untilMs: number): number | undefined;
}

/** Five fields, or six with seconds first, or a nickname; a date, which croner would take too, is none. */
const shape = /^(@(hourly|daily|midnight|weekly|monthly|yearly|annually)|\S+(\s+\S+){4,5})$/;

/** What never fires is looked for over centuries: not twice. */
const known = new Map<string, CronTimes | InvalidValueError>();
const mostKnown = 500;

/**
 * Reads a cron expression. In a time zone whose clocks are changed, a time that is left out is made up for as soon as the clocks
 * are past it, a time that comes twice counts once, and what fires every few minutes or hours goes on doing so.
 *
 * @param timeZone IANA name; undefined: UTC, whatever the zone of the machine, so that every operator has the same times.
 * @throws {InvalidValueError} for what cannot be read, and for what never fires
 */
export function parseCron(cron: string, timeZone = 'UTC'): CronTimes {
  const key = `${timeZone} ${cron}`;
  let read = known.get(key);
  if (read === undefined) {
    read = readCron(cron, timeZone);
    if (known.size >= mostKnown) known.clear();
    known.set(key, read);
  }
  if (read instanceof InvalidValueError) throw read;
  return read;
}

/** Whether there is a time zone of this name. */
export function isTimeZone(name: string): boolean {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone !== '';
  } catch {
    return false;
  }
}

function readCron(cron: string, timeZone: string): CronTimes | InvalidValueError {
  if (!isTimeZone(timeZone)) return new InvalidValueError(timeZone, unknownZone);
  if (!shape.test(cron)) return new InvalidValueError(cron, help);
  let times: Cron;
  try {
    times = new Cron(cron, { paused: true, timezone: timeZone, mode: '5-or-6-parts' });
  } catch (error) {
    const why = error instanceof Error ? error.message.replace(/^Cron(Pattern)?: /, '') : '';
    return new InvalidValueError(cron, `${why}; ${help}`);
  }
  const result: CronTimes = {
    next: (afterMs) => times.nextRun(new Date(afterMs))?.getTime(),
    // Times have whole seconds, and the reference itself is left out.
    previous: (untilMs) =>
      times.previousRuns(1, new Date(Math.floor(untilMs / 1000) * 1000 + 1000))[0]?.getTime(),
  };
  if (result.next(0) === undefined) {
    return new InvalidValueError(cron, 'never fires: there is no such date in any year');
  }
  return result;
}

export const unknownZone = 'no time zone of that name: use one of IANA, e.g. Europe/Berlin or UTC';

const help =
  'a cron expression is MINUTE HOUR DAY MONTH WEEKDAY, e.g. "30 2 * * *" (half past two every night) or "*/5 * * * *", ' +
  'with seconds in front of it if need be, or @hourly, @daily, @weekly, @monthly, @yearly';
