import type { Environment } from '@marcbachmann/cel-js';
import { mapCode } from './source.ts';

/*
 * has(e.f) of the CEL library takes plain chains of names only, not has(self[name].f), and lets
 * undeclared fields pass. Its macros cannot be replaced, so that rules are given one of another name.
 */
const macro = 'fieldIsSet';

/** A rule with its has() turned into the presence test that registerPresenceTest provides. */
export function withPresenceTest(source: string): string {
  return mapCode(source, (code) => code.replace(/(?<![\w.])has\s*\(/g, `${macro}(`));
}

interface AstNode {
  readonly op: string;
  readonly args: readonly [AstNode, string];
}

interface Checker {
  check(node: AstNode, context: unknown): unknown;
  getType(name: string): unknown;
  createError(code: string, message: string, node: AstNode): Error;
}

interface Evaluator {
  run(node: AstNode, context: unknown): unknown;
  debugType(value: unknown): {
    fieldLazy(object: unknown, key: string, node: AstNode, evaluator: unknown): unknown;
  };
}

export function registerPresenceTest(env: Environment): void {
  env.registerFunction(`${macro}(ast): bool`, ({ args }: { args: [AstNode] }) => {
    const [node] = args;
    return {
      typeCheck(checker: Checker, _: unknown, context: unknown): unknown {
        if (node.op !== '.') {
          throw checker.createError(
            'invalid_macro_argument',
            'has() needs a field: has(e.f)',
            node,
          );
        }
        checker.check(node, context);
        return checker.getType('bool');
      },
      evaluate(evaluator: Evaluator, _: unknown, context: unknown): boolean {
        const [operand, field] = node.args;
        const object = evaluator.run(operand, context);
        return evaluator.debugType(object).fieldLazy(object, field, node, evaluator) !== undefined;
      },
    };
  });
}
