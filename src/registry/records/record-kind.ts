import type { z } from 'zod';

/** One family of records: where they live and how they are written. Pure. */
export interface RecordKind<Key, Value> {
  /** For log lines: "placement", "host" … */
  readonly name: string;
  /** All keys of this family start with it; ends with "/". */
  readonly prefix: string;
  /** Path of one record. */
  path(key: Key): string;
  /** The key in `path`, or undefined when the path is not one of this family's. */
  parsePath(path: string): Key | undefined;
  encode(value: Value): string;
  /** Throws RecordError when the text is not a valid record. Unknown fields are kept. */
  decode(text: string): Value;
}

/** A record that somebody wrote by hand, or that a newer nap wrote in a way that this one cannot read. */
export class RecordError extends Error {
  override readonly name = 'RecordError';
}

/** A family of JSON records that `schema` describes, with a path given by named segments under `prefix`. */
export function jsonRecord<const Segments extends readonly string[], Value>(
  name: string,
  prefix: string,
  segments: Segments,
  schema: z.ZodType<Value>,
): RecordKind<Readonly<Record<Segments[number], string>>, Value> {
  type Key = Readonly<Record<Segments[number], string>>;
  return {
    name,
    prefix,
    path: (key) => prefix + segments.map((s) => key[s as Segments[number]]).join('/'),
    parsePath(path) {
      if (!path.startsWith(prefix)) return undefined;
      const parts = path.slice(prefix.length).split('/');
      if (parts.length !== segments.length || parts.includes('')) return undefined;
      return Object.fromEntries(segments.map((s, i) => [s, parts[i]])) as Key;
    },
    encode: (value) => JSON.stringify(value),
    decode(text) {
      let raw: unknown;
      try {
        raw = JSON.parse(text);
      } catch (error) {
        throw new RecordError(`${name} record is not JSON: ${String(error)}`);
      }
      const parsed = schema.safeParse(raw);
      if (parsed.success) return parsed.data;
      const issue = parsed.error.issues[0];
      throw new RecordError(
        `${name} record is invalid at ${issue?.path.join('.') || '(top)'}: ${issue?.message ?? 'unknown'}`,
      );
    },
  };
}
