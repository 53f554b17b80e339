/** A field that the applied configuration wants to change and that another manager owns. */
export interface FieldConflict {
  readonly manager: string;
  readonly apiVersion: string;
  readonly subresource?: string;
  readonly operation: 'Apply' | 'Update';
  /** As kubectl expects it: `.spec.services.web.image`. */
  readonly path: string;
}

function printManager(conflict: FieldConflict): string {
  let text = JSON.stringify(conflict.manager);
  if (conflict.subresource) text += ` with subresource ${JSON.stringify(conflict.subresource)}`;
  if (conflict.operation === 'Apply') return text;
  return `${text} using ${conflict.apiVersion}`;
}

/**
 * The message and the causes of the 409 that answers a conflicting apply, in Kubernetes' words: kubectl
 * prints its advice only for causes of this reason.
 */
export function describeConflicts(conflicts: readonly FieldConflict[]): {
  message: string;
  causes: { reason: 'FieldManagerConflict'; message: string; field: string }[];
} {
  const causes = conflicts.map((conflict) => ({
    reason: 'FieldManagerConflict' as const,
    message: `conflict with ${printManager(conflict)}`,
    field: conflict.path,
  }));
  const [only] = conflicts;
  if (only && conflicts.length === 1) {
    const text = `conflict with ${printManager(only)}: ${only.path}`;
    return { message: `Apply failed with 1 conflict: ${text}`, causes };
  }
  const byManager = new Map<string, string[]>();
  for (const conflict of conflicts) {
    const manager = printManager(conflict);
    byManager.set(manager, [...(byManager.get(manager) ?? []), conflict.path]);
  }
  const lines = [...byManager].sort().flatMap(([manager, paths]) => {
    return [`conflicts with ${manager}:`, ...paths.map((path) => `- ${path}`)];
  });
  return {
    message: `Apply failed with ${conflicts.length} conflicts: ${lines.join('\n')}`,
    causes,
  };
}
