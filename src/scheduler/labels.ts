/** Whether a host has all the labels asked for; of values separated by commas one suffices. */
export function labelsMatch(
  labels: Readonly<Record<string, string>>,
  wanted: Readonly<Record<string, string>>,
): boolean {
  return Object.entries(wanted).every(([key, text]) => {
    const value = Object.hasOwn(labels, key) ? labels[key] : undefined;
    return value !== undefined && text.split(',').some((one) => one.trim() === value);
  });
}
