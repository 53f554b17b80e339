import { fillHooks, hookTexts } from './hooks.ts';
import { maxLabelLength } from './names.ts';
import type { ServiceSpec } from './service-spec.ts';

/** What placeholders stand for in one instance. */
export interface PlaceholderValues {
  /** `%n`: name of the instance, guestbook-web-2. */
  readonly name: string;
  /** `%i`: its number, 2. `%p` is the name without it, guestbook-web, as in systemd. */
  readonly ordinal: number;
  /** `%H`: name of its host. */
  readonly host: string;
  /** `%m`: machine ID of its host. */
  readonly machineID: string;
}

const placeholder = /%(.?)/gsu;

/** Which characters may stand behind a percent sign. */
const known = new Set(['n', 'p', 'i', 'H', 'm', '%']);

/** What a percent sign that is no placeholder is told. */
export const placeholderHelp =
  'a percent sign begins a placeholder: %n (name of the instance), %p (the same without its number), %i (its number), ' +
  '%H (name of its host), %m (machine ID of its host); write %% for a percent sign';

/** The first percent sign that is no placeholder, with what stands behind it: `%s`; undefined when there is none. */
export function strayPercent(text: string): string | undefined {
  for (const match of text.matchAll(placeholder)) {
    if (!known.has(match[1] ?? '')) return match[0];
  }
  return undefined;
}

/** Fills the placeholders in. What is none is left as it is. */
export function fillText(text: string, values: PlaceholderValues): string {
  if (!text.includes('%')) return text;
  return text.replace(placeholder, (all, letter: string) => {
    switch (letter) {
      case 'n':
        return values.name;
      case 'p':
        return values.name.slice(0, values.name.lastIndexOf('-'));
      case 'i':
        return String(values.ordinal);
      case 'H':
        return values.host;
      case 'm':
        return values.machineID;
      case '%':
        return '%';
      default:
        return all;
    }
  });
}

/**
 * The spec of one instance: placeholders filled in command, entrypoint, environment, hostname, labels, volumes (with their
 * definitions), ports and the commands of hooks. A spec without any comes back as it is.
 */
export function fillSpec(spec: ServiceSpec, values: PlaceholderValues): ServiceSpec {
  if (!hasPlaceholders(spec)) return spec;
  const fill = (text: string): string => fillText(text, values);
  const fillAny = <T>(value: T): T => (typeof value === 'string' ? fill(value) : value) as T;
  const filled: Record<string, unknown> = { ...spec };
  for (const field of ['command', 'entrypoint', 'volumes', 'ports'] as const) {
    const list: readonly unknown[] | undefined = spec[field];
    if (list !== undefined) filled[field] = list.map(fillAny);
  }
  for (const field of ['environment', 'labels'] as const) {
    const map: Readonly<Record<string, unknown>> | undefined = spec[field];
    if (map !== undefined) {
      filled[field] = Object.fromEntries(Object.entries(map).map(([k, v]) => [k, fillAny(v)]));
    }
  }
  Object.assign(filled, fillHooks(spec, fill));
  if (spec.hostname !== undefined) filled['hostname'] = fitHostname(fill(spec.hostname));
  const definitions: unknown = (spec as { volumeDefinitions?: unknown }).volumeDefinitions;
  if (typeof definitions === 'object' && definitions !== null) {
    filled['volumeDefinitions'] = Object.fromEntries(
      Object.entries(definitions).map(([name, definition]) => [fill(name), definition as unknown]),
    );
  }
  return filled as unknown as ServiceSpec;
}

/** Whether any string in which placeholders count holds a percent sign. */
export function hasPlaceholders(spec: ServiceSpec): boolean {
  for (const { text } of placeholderTexts(spec)) if (text.includes('%')) return true;
  return false;
}

/** Whether what runs depends on which host it is on. */
export function dependsOnHost(spec: ServiceSpec): boolean {
  for (const { text } of placeholderTexts(spec)) {
    for (const match of text.matchAll(placeholder)) {
      if (match[1] === 'H' || match[1] === 'm') return true;
    }
  }
  return false;
}

/** All strings in which placeholders count, with their paths within the spec. */
export function* placeholderTexts(
  spec: ServiceSpec,
): Generator<{ readonly path: readonly PropertyKey[]; readonly text: string }> {
  for (const field of ['command', 'entrypoint', 'volumes', 'ports'] as const) {
    for (const [index, text] of (spec[field] ?? []).entries()) {
      if (typeof text === 'string') yield { path: [field, index], text };
    }
  }
  for (const field of ['environment', 'labels'] as const) {
    for (const [key, text] of Object.entries(spec[field] ?? {})) {
      if (typeof text === 'string') yield { path: [field, key], text };
    }
  }
  yield* hookTexts(spec);
  if (spec.hostname !== undefined) yield { path: ['hostname'], text: spec.hostname };
}

/** Names of hosts may be long; the engine takes 63 characters, and no "-" or "." at the end. */
function fitHostname(text: string): string {
  return text.length <= maxLabelLength ? text : text.slice(0, maxLabelLength).replace(/[-.]+$/, '');
}
