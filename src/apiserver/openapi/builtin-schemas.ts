import type { ApiKind } from './api-kind.ts';

/** The built-in kinds of Kubernetes that the embedded server serves beside nap's own. */
export const builtinKinds: readonly ApiKind[] = [];
