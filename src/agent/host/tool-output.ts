import type { z } from 'zod';

/** A tool of the host printed something else than this version of nap reads. */
export class ToolOutputError extends Error {
  override readonly name = 'ToolOutputError';
  readonly retryable = true;
}

/** Parses the JSON that `ip -j`, `bridge -j` and `nft -j` print. An empty output is an empty list. Throws ToolOutputError. */
export function parseTool<T>(schema: z.ZodType<T>, stdout: string, tool: string): T {
  let raw: unknown;
  try {
    raw = stdout.trim() === '' ? [] : JSON.parse(stdout);
  } catch (error) {
    throw new ToolOutputError(`${tool} did not print JSON: ${String(error)}`);
  }
  const parsed = schema.safeParse(raw);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new ToolOutputError(
    `${tool} printed something unknown at ${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`,
  );
}
