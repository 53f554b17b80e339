import { badRequest } from '../errors/api-error.ts';
import { getPath } from './path.ts';
import type { KubeObject } from './object.ts';
import { labelKeyError, labelValueError } from './names.ts';

/** Decides whether an object belongs to a list or watch. */
export type Matcher = (object: KubeObject) => boolean;

type Labels = Readonly<Record<string, string>>;
type Requirement = (labels: Labels) => boolean;

/** Tokens of a label selector: words, and `( ) , = == != ! < >` with `in`/`notin` as plain words. */
const token = /\s*(==|!=|[=!(),<>]|[^\s=!(),<>]+)/y;

function tokens(text: string): string[] {
  const found: string[] = [];
  token.lastIndex = 0;
  const trimmed = text.trimEnd();
  while (token.lastIndex < trimmed.length) {
    const match = token.exec(trimmed);
    if (match === null) break;
    found.push(match[1] ?? '');
  }
  return found;
}

/**
 * A label selector as in the query: `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1`. An empty one matches all.
 * Source: k8s.io/apimachinery/pkg/labels. Throws 400.
 */
export function parseLabelSelector(text: string): Requirement {
  const words = tokens(text);
  const requirements: Requirement[] = [];
  let at = 0;
  const fail = (why: string): never => {
    throw badRequest(`unable to parse requirement: ${why}`);
  };
  const word = (what: string): string => {
    const next = words[at];
    if (next === undefined || /^[=!(),<>]/.test(next)) {
      return fail(`found '${next ?? ''}', expected: ${what}`);
    }
    at++;
    return next;
  };
  const key = (): string => {
    const name = word("!, identifier, or 'end of string'");
    const problem = labelKeyError(name);
    if (problem !== undefined) fail(`<nil>: Invalid value: "${name}": ${problem}`);
    return name;
  };
  const checked = (value: string): string => {
    const problem = labelValueError(value);
    if (problem !== undefined) fail(`values[0]: Invalid value: "${value}": ${problem}`);
    return value;
  };
  const atEnd = (): boolean => words[at] === undefined || words[at] === ',';
  while (at < words.length) {
    requirements.push(requirement());
    if (at < words.length) {
      if (words[at] !== ',') fail(`found '${words[at] ?? ''}', expected: ',' or 'end of string'`);
      at++;
      if (at === words.length) fail("found '', expected: identifier after ','");
    }
  }
  return (labels) => requirements.every((holds) => holds(labels));

  function requirement(): Requirement {
    if (words[at] === '!') {
      at++;
      const name = key();
      return (labels) => !Object.hasOwn(labels, name);
    }
    const name = key();
    if (atEnd()) return (labels) => Object.hasOwn(labels, name);
    const operator = words[at++] ?? '';
    switch (operator) {
      case '=':
      case '==': {
        const value = checked(atEnd() ? '' : word('identifier'));
        return (labels) => Object.hasOwn(labels, name) && labels[name] === value;
      }
      case '!=': {
        const value = checked(atEnd() ? '' : word('identifier'));
        return (labels) => !Object.hasOwn(labels, name) || labels[name] !== value;
      }
      case '<':
      case '>': {
        const limit = Number(word('identifier'));
        if (!Number.isSafeInteger(limit))
          fail("for 'Gt', 'Lt' operators, the value must be an integer");
        return (labels) => {
          const value = Object.hasOwn(labels, name) ? Number(labels[name]) : Number.NaN;
          return operator === '<' ? value < limit : value > limit;
        };
      }
      case 'in':
      case 'notin': {
        const values = new Set(valueList().map(checked));
        return operator === 'in'
          ? (labels) => Object.hasOwn(labels, name) && values.has(labels[name] ?? '')
          : (labels) => !Object.hasOwn(labels, name) || !values.has(labels[name] ?? '');
      }
      default:
        return fail(`found '${operator}', expected: in, notin, =, ==, !=, gt, lt`);
    }
  }

  function valueList(): string[] {
    if (words[at++] !== '(') fail(`found '${words[at - 1] ?? ''}', expected: '('`);
    const values: string[] = [];
    for (;;) {
      const next = words[at];
      if (next === ')' || next === ',') {
        if (words[at - 1] === '(' || words[at - 1] === ',') values.push('');
        at++;
        if (next === ')') return values;
      } else {
        values.push(word("',' or ')'"));
        if (words[at] !== ',' && words[at] !== ')') {
          fail(`found '${words[at] ?? ''}', expected: ',' or ')'`);
        }
      }
    }
  }
}

/** One term of a field selector. */
export interface FieldTerm {
  readonly field: string;
  readonly value: string;
  readonly equal: boolean;
}

/** `a=b,c!=d`; backslash escapes `,`, `=` and itself. Throws 400. Source: k8s.io/apimachinery/pkg/fields. */
export function parseFieldTerms(text: string): FieldTerm[] {
  const terms: FieldTerm[] = [];
  for (const part of splitUnescaped(text)) {
    if (part === '') continue;
    const match = /^((?:[^=!\\]|\\.)*)(!=|==|=)(.*)$/s.exec(part);
    if (!match) {
      throw badRequest(`invalid selector: '${text}'; can't understand '${part}'`);
    }
    terms.push({
      field: match[1] ?? '',
      equal: match[2] !== '!=',
      value: (match[3] ?? '').replace(/\\([\\,=])/g, '$1'),
    });
  }
  return terms;
}

function splitUnescaped(text: string): string[] {
  const parts: string[] = [];
  let part = '';
  for (let i = 0; i < text.length; i++) {
    const char = text.charAt(i);
    if (char === '\\' && i + 1 < text.length) part += char + text.charAt(++i);
    else if (char === ',') {
      parts.push(part);
      part = '';
    } else part += char;
  }
  parts.push(part);
  return parts;
}

/** A matcher for field terms; only `selectable` fields are allowed. Throws 400. */
export function fieldMatcher(
  terms: readonly FieldTerm[],
  selectable: ReadonlyMap<string, readonly string[]>,
): Matcher {
  const tests = terms.map(({ field, value, equal }): Matcher => {
    const path =
      field === 'metadata.name' || field === 'metadata.namespace'
        ? field.split('.')
        : selectable.get(field);
    if (path === undefined) throw badRequest(`field label not supported: ${field}`);
    return (object) => (fieldText(getPath(object, path)) === value) === equal;
  });
  return (object) => tests.every((test) => test(object));
}

function fieldText(value: unknown): string {
  if (value === undefined || value === null) return '';
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** Both selectors of a request in one matcher. Throws 400. */
export function parseSelectors(
  labelSelector: string | null,
  fieldSelector: string | null,
  selectable: ReadonlyMap<string, readonly string[]>,
): Matcher {
  const byLabel = parseLabelSelector(labelSelector ?? '');
  const byField = fieldMatcher(parseFieldTerms(fieldSelector ?? ''), selectable);
  return (object) => byLabel(object.metadata.labels ?? {}) && byField(object);
}
