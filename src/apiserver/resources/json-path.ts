import { isObject } from '../../api/json.ts';

/**
 * The subset of JSONPath that printer columns use: `.a.b`, `['a.b']`, `[0]`, `[-1]`, `[*]`, and
 * `[?(@.type=="Ready")]`. Several results are possible; a missing member gives none.
 * Source: k8s.io/client-go/util/jsonpath, as restricted by apiextensions' table convertor.
 */
export type JsonPath = (object: unknown) => unknown[];

type Step = (value: unknown) => unknown[];

/** Compiles `path`. Throws SyntaxError when it uses what is not supported. */
export function compileJsonPath(path: string): JsonPath {
  const steps: Step[] = [];
  let rest = path.trim();
  if (rest.startsWith('{') && rest.endsWith('}')) rest = rest.slice(1, -1).trim();
  if (rest.startsWith('$')) rest = rest.slice(1);
  while (rest !== '') {
    const member = /^\.?((?:[^.[\]\\]|\\.)+)/.exec(rest);
    const filter =
      /^\[\?\(\s*@((?:\.[A-Za-z0-9_-]+)+)\s*(==|!=)\s*(?:"([^"]*)"|'([^']*)'|([A-Za-z0-9.-]+))\s*\)\]/.exec(
        rest,
      );
    const index = /^\[(-?\d+|\*)\]/.exec(rest);
    const quoted = /^\[(?:'([^']*)'|"([^"]*)")\]/.exec(rest);
    if (filter) {
      steps.push(
        filterStep(filter[1] ?? '', filter[2] === '==', filter[3] ?? filter[4] ?? filter[5] ?? ''),
      );
      rest = rest.slice(filter[0].length);
    } else if (index) {
      steps.push(indexStep(index[1] ?? '*'));
      rest = rest.slice(index[0].length);
    } else if (quoted) {
      steps.push(memberStep(quoted[1] ?? quoted[2] ?? ''));
      rest = rest.slice(quoted[0].length);
    } else if (member) {
      steps.push(memberStep((member[1] ?? '').replace(/\\(.)/g, '$1')));
      rest = rest.slice(member[0].length);
    } else {
      throw new SyntaxError(
        `unsupported JSONPath ${JSON.stringify(path)} at ${JSON.stringify(rest)}`,
      );
    }
  }
  return (object) => steps.reduce<unknown[]>((values, step) => values.flatMap(step), [object]);
}

function memberStep(name: string): Step {
  if (name === '*') return allOf;
  return (value) => (isObject(value) && Object.hasOwn(value, name) ? [value[name]] : []);
}

function allOf(value: unknown): unknown[] {
  if (Array.isArray(value)) return value as unknown[];
  return isObject(value) ? Object.values(value) : [];
}

function indexStep(index: string): Step {
  if (index === '*') return allOf;
  return (value) => {
    if (!Array.isArray(value)) return [];
    const item: unknown = value.at(Number(index));
    return item === undefined ? [] : [item];
  };
}

function filterStep(path: string, equal: boolean, wanted: string): Step {
  const read = compileJsonPath(path);
  return (value) => {
    if (!Array.isArray(value)) return [];
    return (value as unknown[]).filter((item) => {
      const [found] = read(item);
      return (found !== undefined && asText(found) === wanted) === equal;
    });
  };
}

const asText = (value: unknown): string =>
  typeof value === 'string' ? value : JSON.stringify(value);
