import { isIP } from 'node:net';
import { Environment } from '@marcbachmann/cel-js';
import { isCidr } from '../formats.ts';
import { registerPresenceTest } from './presence.ts';
import { Quantity } from './quantity.ts';
import { celEqual } from './types.ts';

/**
 * The CEL environment of Kubernetes' validation rules: the language's own functions and Kubernetes'
 * libraries for lists, regular expressions, sets, quantities, URLs, addresses and string formatting
 * (https://kubernetes.io/docs/reference/using-api/cel/).
 */
export function createEnvironment(): Environment {
  const env = new Environment({ enableOptionalTypes: true });
  registerPresenceTest(env);
  registerLists(env);
  registerStrings(env);
  registerSets(env);
  registerQuantities(env);
  env.registerFunction('isURL(string): bool', (text: string) => URL.canParse(text));
  env.registerFunction('isIP(string): bool', (text: string) => isIP(text) !== 0);
  env.registerFunction('isCIDR(string): bool', (text: string) => isCidr(text));
  return env;
}

type Comparable = bigint | number | string | boolean;

function registerLists(env: Environment): void {
  env.registerFunction('list.isSorted(): bool', (list: Comparable[]) =>
    list.every((value, i) => i === 0 || (list[i - 1] as Comparable) <= value),
  );
  env.registerFunction('list<int>.sum(): int', (list: bigint[]) =>
    list.reduce((a, b) => a + b, 0n),
  );
  env.registerFunction('list<double>.sum(): double', (list: number[]) =>
    list.reduce((a, b) => a + b, 0),
  );
  const extreme = (name: string, better: (a: Comparable, b: Comparable) => boolean): void => {
    env.registerFunction(`list<T>.${name}(): T`, (list: Comparable[]) => {
      if (list.length === 0) throw new Error(`${name} called on empty list`);
      return list.reduce((a, b) => (better(b, a) ? b : a));
    });
  };
  extreme('min', (a, b) => a < b);
  extreme('max', (a, b) => a > b);
  env.registerFunction('list<T>.indexOf(T): int', (list: unknown[], wanted: unknown) =>
    BigInt(list.findIndex((value) => celEqual(value, wanted))),
  );
  env.registerFunction('list<T>.lastIndexOf(T): int', (list: unknown[], wanted: unknown) =>
    BigInt(list.findLastIndex((value) => celEqual(value, wanted))),
  );
}

function registerStrings(env: Environment): void {
  env.registerFunction(
    'string.find(string): string',
    (text: string, pattern: string) => new RegExp(pattern, 'u').exec(text)?.[0] ?? '',
  );
  env.registerFunction('string.findAll(string): list<string>', (text: string, pattern: string) => [
    ...(text.match(new RegExp(pattern, 'gu')) ?? []),
  ]);
  env.registerFunction(
    'string.findAll(string, int): list<string>',
    (text: string, pattern: string, limit: bigint) => {
      const found = [...(text.match(new RegExp(pattern, 'gu')) ?? [])];
      return limit < 0n ? found : found.slice(0, Number(limit));
    },
  );
  env.registerFunction('string.charAt(int): string', (text: string, at: bigint) => {
    const characters = Array.from(text);
    const index = Number(at);
    if (index < 0 || index > characters.length) throw new Error(`index out of range: ${index}`);
    return characters[index] ?? '';
  });
  env.registerFunction(
    'string.replace(string, string): string',
    (text: string, from: string, to: string) => text.replaceAll(from, () => to),
  );
  env.registerFunction('string.format(list): string', (text: string, args: unknown[]) => {
    let next = 0;
    return text.replace(/%(%|s|d|\.?\d*f)/g, (_, verb: string) => {
      if (verb === '%') return '%';
      if (next >= args.length) throw new Error('index out of range in format');
      const value = args[next++];
      const digits = /\.(\d+)f/.exec(verb)?.[1];
      if (verb.endsWith('f'))
        return Number(value).toFixed(digits === undefined ? 6 : Number(digits));
      return formatValue(value);
    });
  });
}

function formatValue(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(formatValue).join(', ')}]`;
  if (value instanceof Map) {
    return `{${[...value].map(([k, v]) => `${formatValue(k)}: ${formatValue(v)}`).join(', ')}}`;
  }
  return typeof value === 'string' ? value : `${value as bigint}`;
}

function registerSets(env: Environment): void {
  class Sets extends Map<string, never> {}
  const has = (list: unknown[], wanted: unknown): boolean =>
    list.some((value) => celEqual(value, wanted));
  env.registerType('kubernetes.Sets', Sets);
  env.registerConstant('sets', 'kubernetes.Sets', new Sets());
  const register = (name: string, test: (a: unknown[], b: unknown[]) => boolean): void => {
    env.registerFunction(
      `kubernetes.Sets.${name}(list, list): bool`,
      (_: Sets, a: unknown[], b: unknown[]) => test(a, b),
    );
  };
  register('contains', (a, b) => b.every((value) => has(a, value)));
  register('intersects', (a, b) => b.some((value) => has(a, value)));
  register('equivalent', (a, b) => a.every((v) => has(b, v)) && b.every((v) => has(a, v)));
}

function registerQuantities(env: Environment): void {
  const type = 'kubernetes.Quantity';
  env.registerType(type, { ctor: Quantity, fields: {} });
  env.registerOperator(`${type} == ${type}`, (a: Quantity, b: Quantity) => a.scaled === b.scaled);
  env.registerFunction('isQuantity(string): bool', (text: string) => {
    return Quantity.parse(text) !== undefined;
  });
  env.registerFunction(`quantity(string): ${type}`, (text: string) => {
    const parsed = Quantity.parse(text);
    if (!parsed) throw new Error(`not a quantity: ${text}`);
    return parsed;
  });
  const method = (signature: string, handler: (a: Quantity, b: Quantity) => unknown): void => {
    env.registerFunction(`${type}.${signature}`, handler);
  };
  method(`compareTo(${type}): int`, (a, b) => a.compareTo(b));
  method(`isLessThan(${type}): bool`, (a, b) => a.compareTo(b) < 0n);
  method(`isGreaterThan(${type}): bool`, (a, b) => a.compareTo(b) > 0n);
  method(`add(${type}): ${type}`, (a, b) => new Quantity(a.scaled + b.scaled));
  method(`sub(${type}): ${type}`, (a, b) => new Quantity(a.scaled - b.scaled));
  method('sign(): int', (a) => a.compareTo(new Quantity(0n)));
  method('isInteger(): bool', (a) => a.isInteger());
  method('asApproximateFloat(): double', (a) => Number(a.scaled) / Number(Quantity.scale));
  method('asInteger(): int', (a) => {
    if (!a.isInteger()) throw new Error('cannot convert value to integer');
    return a.scaled / Quantity.scale;
  });
}
