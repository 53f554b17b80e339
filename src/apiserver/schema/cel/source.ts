/** String literals of CEL: triple-quoted, raw and plain ones. */
const literal =
  /[rR]?("""[^]*?"""|'''[^]*?''')|[rR]("[^"]*"|'[^']*')|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'/g;

/** The code of an expression with its string literals emptied. */
export function withoutStrings(source: string): string {
  return source.replace(literal, '""');
}

/** Changes the code of an expression, and leaves what is in its string literals alone. */
export function mapCode(source: string, change: (code: string) => string): string {
  let out = '';
  let end = 0;
  for (const match of source.matchAll(literal)) {
    out += change(source.slice(end, match.index)) + match[0];
    end = match.index + match[0].length;
  }
  return out + change(source.slice(end));
}
