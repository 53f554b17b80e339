import { pino, type DestinationStream, type Logger as PinoLogger } from 'pino';

/** Structured logger: `log.info({host}, 'text')`; `log.child({component})` adds fields to every line. */
export type Logger = PinoLogger;

/** Levels that `--log-level` takes, most talkative first. */
export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];

/** A JSON-lines logger writing to `destination` (default: standard error, so that stdout stays for results). */
export function createLogger(level: LogLevel, destination?: DestinationStream): Logger {
  return pino(
    { level, base: null, timestamp: pino.stdTimeFunctions.isoTime, errorKey: 'err' },
    destination ?? pino.destination({ fd: 2, sync: true }),
  );
}

/** A logger that drops everything: for tests and for callers that do not care. */
export const silentLogger: Logger = pino({ level: 'silent' });
