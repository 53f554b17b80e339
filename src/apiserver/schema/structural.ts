import type { CompiledSchema, JsonSchema } from './types.ts';

export type { CauseReason, CompiledSchema, FieldCause, JsonObject, JsonSchema } from './types.ts';

/**
 * Makes a structural schema ready for use.
 *
 * @throws SchemaError when the schema is not structural, or a CEL rule in it does not compile.
 */
export function compileSchema(schema: JsonSchema): CompiledSchema {
  return {
    schema,
    prune: (object) => ({ object, unknown: [] }),
    applyDefaults: (object) => object,
    validate: () => [],
  };
}
