/** metav1.MicroTime: RFC 3339 with exactly six fractional digits, which is what Leases demand. */
export function microTime(unixMs: number): string {
  return new Date(unixMs).toISOString().replace('Z', '000Z');
}

/** metav1.Time: RFC 3339 with whole seconds. */
export function wholeSecondsTime(unixMs: number): string {
  return new Date(unixMs).toISOString().replace(/\.\d+Z$/, 'Z');
}
