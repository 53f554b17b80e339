import { Context, Liquid, type Template } from 'liquidjs';

/**
 * The language of templates: Liquid, interpreted by liquidjs, cut down to what lists of addresses need.
 *
 * Templates come from whoever may apply a Project and are rendered by agents, which run as root. Of the well-kept languages:
 * handlebars compiles templates into JavaScript, and what got past its guards ran as code more than once; mustache
 * has no limits, so that nested sections over a long list take all memory, and no comparison, so that the last comma of a list
 * is a puzzle. Liquid was made for templates of strangers: no code is generated, data are read by own properties
 * only, and parsing and memory have limits. Here it has, besides, no file system (no include, render, layout), no
 * clock and no dice (so that the same data give the same text on every host), a limit on steps that does not depend on the
 * speed of the machine, and one on the length of the result.
 */
export type ParsedTemplate = readonly Template[];

/** Longest text of a template, bytes. */
export const maxTemplateBytes = 64 * 1024;
/** Longest result, bytes. */
export const maxRenderedBytes = 1024 * 1024;
/** Pieces of text, values and tags that one rendering may come to: some dozens for each of 10,000 instances. */
const maxSteps = 500_000;
/** Characters and elements that values made on the way may have, all together. */
const maxMemory = 8 * 1024 * 1024;

const allowedTags = [
  ...['#', 'assign', 'break', 'case', 'comment', 'continue', 'decrement', 'for', 'if'],
  ...['increment', 'raw', 'unless'],
];
/** None that tells the time, draws lots, reads anything, or whose cost is not the size of what it is given. */
const allowedFilters = [
  ...['abs', 'append', 'at_least', 'at_most', 'capitalize', 'ceil', 'compact', 'concat', 'default'],
  ...['divided_by', 'downcase', 'first', 'floor', 'join', 'json', 'last', 'lstrip', 'map', 'minus'],
  ...['modulo', 'plus', 'prepend', 'remove', 'reverse', 'round', 'rstrip', 'size', 'slice', 'sort'],
  ...['split', 'strip', 'sum', 'times', 'uniq', 'upcase', 'where'],
];

const engine = engineOf();

function engineOf(): Liquid {
  const liquid = new Liquid({
    ownPropertyOnly: true,
    strictVariables: true,
    lenientIf: true,
    strictFilters: true,
    parseLimit: maxTemplateBytes,
    memoryLimit: maxMemory,
    cache: false,
    // Nothing of the file system, though no tag is left that would look.
    templates: {},
  });
  keepOnly(liquid.tags, allowedTags);
  keepOnly(liquid.filters, allowedFilters);
  return liquid;
}

function keepOnly(known: Record<string, unknown>, allowed: readonly string[]): void {
  for (const name of Object.keys(known)) {
    if (!allowed.includes(name)) Reflect.deleteProperty(known, name);
  }
}

/** A template that cannot be read, or whose rendering fails or goes beyond its limits. */
export class TemplateError extends Error {
  override readonly name = 'TemplateError';
}

/** @throws {TemplateError} */
export function parseTemplate(text: string): ParsedTemplate {
  try {
    return engine.parse(text);
  } catch (error) {
    throw new TemplateError(wordsOf(error));
  }
}

/**
 * The same template and data always give the same text.
 * @param breathe called every few thousand steps: a long rendering must not hold everything else up
 * @throws {TemplateError}
 */
export async function renderTemplate(
  template: ParsedTemplate,
  data: object,
  breathe: () => Promise<void>,
): Promise<string> {
  const context = new Context(data, engine.options, { sync: true });
  let steps = 0;
  // Asked before each piece of text, value and tag. Not the clock: a slow machine renders the same.
  Object.assign(context, {
    renderLimit: {
      check(): void {
        if (++steps > maxSteps) throw new TemplateError('takes too many steps');
      },
    },
  });
  const emitter = new BoundedEmitter();
  try {
    await drive(engine.renderer.renderTemplates([...template], context, emitter), breathe);
    return emitter.buffer;
  } catch (error) {
    throw new TemplateError(wordsOf(error));
  }
}

/** How many moves are made between two breaths: some milliseconds' worth. */
const movesPerBreath = 4000;

type Moves = Iterator<unknown, unknown>;

/** Runs liquidjs's generators, which yield values and further generators, as its own toValueSync does, but with pauses. */
async function drive(start: Moves, breathe: () => Promise<void>): Promise<void> {
  const stack: Moves[] = [start];
  let next: { readonly value: unknown } | { readonly error: unknown } = { value: undefined };
  for (let moves = 1; ; moves++) {
    const top = stack.at(-1);
    if (top === undefined) {
      if ('error' in next) throw next.error;
      return;
    }
    if (moves % movesPerBreath === 0) await breathe();
    try {
      const result: IteratorResult<unknown, unknown> =
        'error' in next ? raise(top, next.error) : top.next(next.value);
      if (result.done === true) stack.pop();
      next = { value: result.value };
      if (result.done !== true && isMoves(result.value)) {
        stack.push(result.value);
        next = { value: undefined };
      }
    } catch (error) {
      stack.pop();
      next = { error };
    }
  }
}

function raise(moves: Moves, error: unknown): IteratorResult<unknown, unknown> {
  if (moves.throw === undefined) throw error;
  return moves.throw(error);
}

function isMoves(value: unknown): value is Moves {
  return (
    typeof value === 'object' &&
    value !== null &&
    typeof (value as Partial<Moves>).next === 'function' &&
    typeof (value as Partial<Moves>).throw === 'function'
  );
}

/** Gathers what is written, up to a limit. */
class BoundedEmitter {
  readonly raw = false;
  buffer = '';
  #bytes = 0;

  write(value: unknown): void {
    const text = textOf(value);
    this.#bytes += Buffer.byteLength(text);
    if (this.#bytes > maxRenderedBytes) {
      throw new TemplateError(`makes more than ${String(maxRenderedBytes)} bytes`);
    }
    this.buffer += text;
  }
}

function textOf(value: unknown): string {
  if (value === undefined || value === null) return '';
  if (Array.isArray(value)) return value.map(textOf).join('');
  if (typeof value === 'string') return value;
  return JSON.stringify(value);
}

function wordsOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.replace(/\s+/g, ' ').slice(0, 500);
}
