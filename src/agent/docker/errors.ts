/**
 * Docker's failures, sorted by what the agent does about them. The engine answers with an HTTP status
 * and a sentence; the sentence is kept word for word, since it is what a user must read in the end.
 */

/** Why a call to the engine failed. CamelCase: it becomes the `reason` in instance records. */
export type EngineErrorReason =
  /** The socket is absent, refuses, broke off or did not answer in time: the engine is down or stuck. */
  | 'EngineUnavailable'
  /** The engine does not know the container, image, network or volume. */
  | 'NotFound'
  /** A name is taken, or the thing is in a state that forbids the call. */
  | 'Conflict'
  /** A host port that the container publishes is held by another process or container. */
  | 'PortInUse'
  /** Another container has the address in the overlay that this one was created with. */
  | 'AddressInUse'
  /** The registry has no such image, refuses access, or cannot be reached. */
  | 'ImagePullFailed'
  /** The container's program cannot be started (no such file, not executable, bad user or directory). */
  | 'StartFailed'
  /** An external volume does not exist on this host. */
  | 'VolumeMissing'
  /** The engine refused the request (bad option, unsupported feature). */
  | 'EngineRefused';

/** A failed call to the engine. `message` has the engine's own words. */
export class EngineError extends Error {
  override readonly name = 'EngineError';
  readonly reason: EngineErrorReason;
  /** HTTP status of the engine's answer, when there was one. */
  readonly statusCode: number | undefined;

  constructor(reason: EngineErrorReason, message: string, statusCode?: number) {
    super(message);
    this.reason = reason;
    this.statusCode = statusCode;
  }

  /** Everything is worth another try after a pause, but a call that named something unknown. */
  get retryable(): boolean {
    return this.reason !== 'NotFound';
  }
}

/** Whether `error` says that the thing asked for does not exist. */
export function isNotFound(error: unknown): boolean {
  return error instanceof EngineError && error.reason === 'NotFound';
}

/** Whether `error` says that the engine cannot be spoken to. */
export function isUnavailable(error: unknown): boolean {
  return error instanceof EngineError && error.reason === 'EngineUnavailable';
}

/** Whether `error` is dockerode's "304 not modified": the container already is in the state asked for. */
export function isNotModified(error: unknown): boolean {
  return statusOf(error) === 304;
}

const transportCodes = new Set([
  'ENOENT',
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'EACCES',
  'ETIMEDOUT',
  'ENOTSOCK',
]);

/**
 * Turns whatever dockerode throws into an EngineError.
 *
 * @param doing what was tried, for errors that say nothing themselves ("create container x").
 */
export function toEngineError(error: unknown, doing: string): EngineError {
  if (error instanceof EngineError) return error;
  const message = messageOf(error);
  const status = statusOf(error);
  if (status === undefined) {
    if (isTimeout(error)) {
      return new EngineError('EngineUnavailable', `${doing}: no answer from the engine in time`);
    }
    const code = (error as { code?: unknown } | null)?.code;
    const known = typeof code === 'string' && transportCodes.has(code);
    const broken = known || /socket hang up|aborted|parse error/i.test(message);
    return new EngineError(broken ? 'EngineUnavailable' : 'EngineRefused', `${doing}: ${message}`);
  }
  return new EngineError(reasonOf(status, message), message, status);
}

/**
 * The reason that a sentence of the engine's stands for. Sources: moby daemon/start.go, libnetwork/portallocator,
 * libnetwork/ipamapi (ErrIPAlreadyAllocated).
 */
function reasonOf(status: number, message: string): EngineErrorReason {
  // With a capital letter and nothing of "bind" before it: not a port.
  if (/^(failed to set up container networking: )?Address already in use$/.test(message)) {
    return 'AddressInUse';
  }
  if (
    /port is already allocated|address already in use|failed to bind (host )?port/i.test(message)
  ) {
    return 'PortInUse';
  }
  if (/OCI runtime create failed|runc create failed|failed to create (shim )?task/i.test(message)) {
    return 'StartFailed';
  }
  if (status === 404) return 'NotFound';
  if (status === 409) return 'Conflict';
  if (status === 503) return 'EngineUnavailable';
  return 'EngineRefused';
}

function statusOf(error: unknown): number | undefined {
  const status = (error as { statusCode?: unknown } | null)?.statusCode;
  return typeof status === 'number' ? status : undefined;
}

/** The engine's own sentence, without dockerode's "(HTTP code 404) no such container - " in front. */
function messageOf(error: unknown): string {
  const json: unknown = (error as { json?: unknown } | null)?.json;
  const said = (json as { message?: unknown } | null | undefined)?.message;
  if (typeof said === 'string' && said !== '') return said.trim();
  return (error instanceof Error ? error.message : String(error)).trim();
}

function isTimeout(error: unknown): boolean {
  const name = (error as { name?: unknown } | null)?.name;
  return name === 'TimeoutError' || name === 'AbortError';
}
