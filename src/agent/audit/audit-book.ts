import type { Clock } from '../../runtime/clock.ts';
import { findingKinds, type Finding, type FindingKind } from './finding.ts';

/** So long after the last time a finding is still told, in milliseconds: a person who looks once a minute sees it. */
const toldForMs = 60_000;

/**
 * What the audits of one agent have found and put right: counted for ever, told for a minute. Also the way to ask for an audit now,
 * of all who do any.
 */
export class AuditBook {
  readonly #clock: Clock;
  readonly #counts = new Map<FindingKind, number>(findingKinds.map((kind) => [kind, 0]));
  /** By words, with the moment at which they stop being told. */
  readonly #recent = new Map<string, number>();
  readonly #listeners = new Set<() => void>();
  readonly #auditors = new Set<() => void>();
  #cancelForget: () => void = () => undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** How much has been put right since the agent's start, by kind; kinds without any are there with 0. */
  get counts(): ReadonlyMap<FindingKind, number> {
    return this.#counts;
  }

  /** What has been put right in the last minute, each thing once, the oldest first. */
  recent(): readonly string[] {
    return [...this.#recent.keys()];
  }

  /** Notes what was found and has been put right. */
  repaired(found: readonly Finding[]): void {
    if (found.length === 0) return;
    const until = this.#clock.monotonic() + toldForMs;
    let isNews = false;
    for (const { kind, what, count = 1 } of found) {
      this.#counts.set(kind, (this.#counts.get(kind) ?? 0) + count);
      isNews ||= !this.#recent.has(what);
      this.#recent.set(what, until);
    }
    this.#forgetLater();
    // What is found again and again would otherwise be written into the registry again and again.
    if (isNews) this.#tell();
  }

  /** Has `listener` called when `recent()` has changed. The returned function ends it. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Has `audit` called when somebody wants everything looked at now. The returned function ends it. */
  onRequest(audit: () => void): () => void {
    this.#auditors.add(audit);
    return () => this.#auditors.delete(audit);
  }

  /** Asks everybody who audits to do it now. */
  request(): void {
    for (const audit of this.#auditors) audit();
  }

  #forgetLater(): void {
    this.#cancelForget();
    const next = Math.min(...this.#recent.values());
    if (next === Infinity) return;
    this.#cancelForget = this.#clock.schedule(
      () => {
        this.#forget();
      },
      Math.max(0, next - this.#clock.monotonic()),
    );
  }

  #forget(): void {
    const now = this.#clock.monotonic();
    const before = this.#recent.size;
    for (const [what, until] of this.#recent) if (until <= now) this.#recent.delete(what);
    this.#forgetLater();
    if (this.#recent.size !== before) this.#tell();
  }

  #tell(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}
