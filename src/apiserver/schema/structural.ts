import { compileRules } from './cel/rules.ts';
import { cause } from './cause.ts';
import type { LocatedCause } from './cause.ts';
import { applyDefaults } from './defaults.ts';
import { validateEmbeddedResources } from './embedded.ts';
import { validateListTypes } from './list-types.ts';
import { compileNode } from './node.ts';
import { prune } from './prune.ts';
import { ratchet } from './ratchet.ts';
import type { CauseReason, CompiledSchema, FieldCause, JsonSchema } from './types.ts';
import { compileValueValidation } from './value-validation.ts';

export { SchemaError } from './node.ts';
export type { CompiledSchema, JsonSchema } from './types.ts';

/** No answer lists more: a broken list of 10,000 needs no 10,000 lines. */
const maxCauses = 100;

/** With one of these wrong, rules could only fail in confusing ways. */
const blocking = new Set<CauseReason>([
  'FieldValueRequired',
  'FieldValueTypeInvalid',
  'FieldValueNotSupported',
  'FieldValueTooLong',
  'FieldValueTooMany',
]);

/**
 * Makes a structural schema ready for use.
 *
 * @throws SchemaError when the schema is not structural, or a CEL rule in it does not compile.
 */
export function compileSchema(schema: JsonSchema): CompiledSchema {
  const root = compileNode(schema, '', true);
  const validateValues = compileValueValidation(schema);
  const validateRules = compileRules(root);
  return {
    schema,
    prune: (object) => prune(object, root),
    applyDefaults: (object) => applyDefaults(object, root),
    validate: (object, old) => {
      const causes = [
        ...validateValues(object),
        ...validateEmbeddedResources(object, root),
        ...validateListTypes(object, root),
      ];
      if (root.hasRules) {
        if (causes.some((found) => blocking.has(found.reason))) causes.push(rulesSkipped());
        else causes.push(...validateRules(object, old));
      }
      if (!old) return causes.slice(0, maxCauses).map(publicCause);
      const kept = ratchet(causes, object, old, root).filter((found) => !isRulesSkipped(found));
      // What blocked the rules was excused: they have to hold on their own.
      if (causes.some(isRulesSkipped)) {
        if (kept.some((found) => blocking.has(found.reason))) kept.push(rulesSkipped());
        else kept.push(...ratchet(validateRules(object, old), object, old, root));
      }
      return kept.slice(0, maxCauses).map(publicCause);
    },
  };
}

const skippedText =
  'some validation rules were not checked because the object was invalid; ' +
  'correct the existing errors to complete validation';

function rulesSkipped(): LocatedCause {
  return { ...cause('FieldValueInvalid', [], null, skippedText), transition: true };
}

function isRulesSkipped(found: LocatedCause): boolean {
  return found.message.endsWith(skippedText);
}

function publicCause({ reason, message, field }: LocatedCause): FieldCause {
  return { reason, message, field };
}
