/** How long connections to an instance that has to go may go on, if its service says nothing. */
export const defaultDrainTimeoutMs = 10_000;
