import { Optional } from '@marcbachmann/cel-js';
import type { Environment, ParseResult } from '@marcbachmann/cel-js';
import { isObject } from '../../../api/json.ts';
import { cause } from '../cause.ts';
import type { LocatedCause } from '../cause.ts';
import type { FieldPath } from '../field-path.ts';
import { SchemaError } from '../node.ts';
import type { SchemaNode } from '../node.ts';
import { oldListItem } from '../ratchet.ts';
import type { ValidationRule } from '../types.ts';
import { createEnvironment } from './environment.ts';
import { withPresenceTest } from './presence.ts';
import { withoutStrings } from './source.ts';
import { parseFieldPath } from './rule-field-path.ts';
import { celType } from './types.ts';
import type { CelType } from './types.ts';

/** Longest text that a messageExpression may give, in bytes, as in Kubernetes. */
const maxMessageBytes = 5 * 1024;

const oldSelf = /\boldSelf\b/;

interface CompiledRule {
  readonly rule: ValidationRule;
  readonly program: ParseResult;
  readonly usesOldSelf: boolean;
  /** The rule or its message does. */
  readonly needsOldSelf: boolean;
  readonly message: ParseResult | undefined;
  readonly fieldPath: FieldPath;
}

/** A node with rules here or below, and the CEL type of its value. */
interface RuleNode {
  readonly node: SchemaNode;
  readonly type: CelType;
  readonly rules: readonly CompiledRule[];
  readonly fields: ReadonlyMap<string, RuleNode>;
  readonly values: RuleNode | undefined;
  readonly items: RuleNode | undefined;
}

/**
 * Compiles all x-kubernetes-validations of a schema.
 *
 * @throws SchemaError naming the rule that does not compile; rules are never left out.
 */
export function compileRules(root: SchemaNode): (object: unknown, old: unknown) => LocatedCause[] {
  if (!root.hasRules) return () => [];
  const env = createEnvironment();
  const types = celType(env, root);
  const tree = compileNodeRules(env, root, types, '');
  return (object, old) => {
    const causes: LocatedCause[] = [];
    if (tree) evaluateNode(tree, object, old, [], causes);
    return causes;
  };
}

function compileNodeRules(
  env: Environment,
  node: SchemaNode | undefined,
  type: CelType | undefined,
  at: string,
): RuleNode | undefined {
  if (!node?.hasRules) return undefined;
  if (!type)
    throw new SchemaError(`${at}: rules cannot be reached here: the name is not escapable`);
  const fields = new Map<string, RuleNode>();
  for (const [key, child] of node.fields) {
    const compiled = compileNodeRules(
      env,
      child,
      type.field(key),
      at === '' ? key : `${at}.${key}`,
    );
    if (compiled) fields.set(key, compiled);
  }
  return {
    node,
    type,
    rules: node.rules.map((rule) => compileRule(env, rule, node, type, at)),
    fields,
    values: compileNodeRules(env, node.values, type.field(''), `${at}[*]`),
    items: compileNodeRules(env, node.items, type.items, `${at}[*]`),
  };
}

function compileRule(
  env: Environment,
  rule: ValidationRule,
  node: SchemaNode,
  type: CelType,
  at: string,
): CompiledRule {
  const refuse = (what: string, source: string, why: string): never => {
    throw new SchemaError(`${at || 'the schema'}: ${what} ${JSON.stringify(source)}: ${why}`);
  };
  // A nullable value is never null inside its own rules.
  const selfType = type.name;
  const oldType = rule.optionalOldSelf ? `optional<${selfType}>` : selfType;
  const scope = env.clone().registerVariable('self', selfType).registerVariable('oldSelf', oldType);
  const compile = (what: string, source: string, wanted: string): ParseResult => {
    try {
      const program = scope.parse(withPresenceTest(source));
      const checked = program.check();
      if (!checked.valid) return refuse(what, source, checked.error?.message ?? 'type error');
      if (checked.type !== wanted && checked.type !== 'dyn') {
        return refuse(what, source, `must be ${wanted}, is ${checked.type ?? 'unknown'}`);
      }
      return program;
    } catch (error) {
      if (error instanceof SchemaError) throw error;
      return refuse(what, source, error instanceof Error ? error.message : String(error));
    }
  };
  const code = withoutStrings(rule.rule);
  return {
    rule,
    program: compile('rule', rule.rule, 'bool'),
    usesOldSelf: oldSelf.test(code),
    needsOldSelf: oldSelf.test(code + withoutStrings(rule.messageExpression ?? '')),
    message:
      rule.messageExpression === undefined
        ? undefined
        : compile('messageExpression', rule.messageExpression, 'string'),
    fieldPath:
      rule.fieldPath === undefined
        ? []
        : (parseFieldPath(rule.fieldPath, node) ??
          refuse('fieldPath', rule.fieldPath, 'does not refer to a declared field')),
  };
}

function evaluateNode(
  tree: RuleNode,
  value: unknown,
  old: unknown,
  path: FieldPath,
  causes: LocatedCause[],
): void {
  if (value === null || value === undefined) return;
  if (tree.rules.length > 0) evaluateRules(tree, value, old, path, causes);
  if (Array.isArray(value) && tree.items) {
    const before = Array.isArray(old) ? old : [];
    for (const [i, item] of value.entries()) {
      evaluateNode(tree.items, item, oldListItem(item, before, tree.node), [...path, i], causes);
    }
  } else if (isObject(value)) {
    const correlatable = tree.node.schema['x-kubernetes-map-type'] !== 'atomic';
    const before = correlatable && isObject(old) ? old : {};
    for (const key of Object.keys(value)) {
      const was = Object.hasOwn(before, key) ? before[key] : undefined;
      const field = tree.fields.get(key);
      if (field) evaluateNode(field, value[key], was, [...path, key], causes);
      else if (tree.values && !tree.node.fields.has(key)) {
        evaluateNode(tree.values, value[key], was, [...path, { key }], causes);
      }
    }
  }
}

function evaluateRules(
  tree: RuleNode,
  value: unknown,
  old: unknown,
  path: FieldPath,
  causes: LocatedCause[],
): void {
  const hasOld = old !== undefined && old !== null;
  let self: unknown;
  let before: unknown;
  try {
    self = tree.type.convert(value);
    if (hasOld && tree.rules.some((rule) => rule.needsOldSelf)) before = tree.type.convert(old);
  } catch {
    // An object from before a change of the schema need not have the types of today.
    const detail = 'the rules cannot be evaluated: the value, or its old state, is of a wrong type';
    causes.push(cause('FieldValueInvalid', path, tree.node.schema.type ?? '', detail));
    return;
  }
  for (const compiled of tree.rules) {
    const { rule } = compiled;
    if (compiled.usesOldSelf && !hasOld && !rule.optionalOldSelf) continue;
    const scope: Record<string, unknown> = { self };
    if (compiled.needsOldSelf) {
      scope['oldSelf'] = rule.optionalOldSelf ? toOptional(before) : before;
    }
    const fail = (at: FieldPath, reason: LocatedCause['reason'], detail: string): void => {
      const kind = tree.node.schema.type ?? '';
      causes.push({
        ...cause(reason, at, kind, reason === 'FieldValueDuplicate' ? '' : detail, path),
        transition: compiled.usesOldSelf,
      });
    };
    let result: unknown;
    try {
      result = compiled.program(scope);
    } catch (error) {
      const text = rule.message ?? rule.rule;
      fail(path, 'FieldValueInvalid', `${shortError(error)} evaluating rule: ${text.trim()}`);
      continue;
    }
    if (result === true) continue;
    const detail = evaluateMessage(compiled, scope);
    fail([...path, ...compiled.fieldPath], rule.reason ?? 'FieldValueInvalid', detail);
  }
}

function evaluateMessage(compiled: CompiledRule, scope: Record<string, unknown>): string {
  const { rule, message } = compiled;
  if (message) {
    try {
      const text: unknown = message(scope);
      if (typeof text === 'string') {
        const trimmed = text.trim();
        const fits = Buffer.byteLength(trimmed) <= maxMessageBytes && !trimmed.includes('\n');
        if (trimmed !== '' && fits) return trimmed;
      }
    } catch {
      // As in Kubernetes the fixed message stands in for an expression that fails.
    }
  }
  return rule.message === undefined ? `failed rule: ${rule.rule.trim()}` : rule.message.trim();
}

/** The first line: the CEL library adds a drawing of the place in the expression. */
function shortError(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const first = text.split('\n')[0] ?? '';
  return first.replace(/^No such key/, 'no such key');
}

function toOptional(value: unknown): unknown {
  return value === undefined ? Optional.none() : Optional.of(value);
}
