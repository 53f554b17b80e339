/** Reads "1-3,5"; what it cannot read it leaves out. */
export function parseOrdinals(text: string): Set<number> {
  const ordinals = new Set<number>();
  for (const part of text === '' ? [] : text.split(',')) {
    const match = /^([1-9]\d{0,5})(?:-([1-9]\d{0,5}))?$/.exec(part);
    if (match === null) continue;
    const first = Number(match[1]);
    const last = Number(match[2] ?? match[1]);
    for (let ordinal = first; ordinal <= last; ordinal++) ordinals.add(ordinal);
  }
  return ordinals;
}

/** The way back: as short as a run of neighbours lets it be, in ascending order. */
export function formatOrdinals(ordinals: ReadonlySet<number>): string {
  const parts: string[] = [];
  let first: number | undefined;
  let last = 0;
  const close = (): void => {
    if (first === undefined) return;
    parts.push(first === last ? String(first) : `${String(first)}-${String(last)}`);
  };
  for (const ordinal of [...ordinals].sort((a, b) => a - b)) {
    if (first !== undefined && ordinal === last + 1) {
      last = ordinal;
      continue;
    }
    close();
    first = ordinal;
    last = ordinal;
  }
  close();
  return parts.join(',');
}
