/**
 * Whether `text` matches a shell pattern: `*` stands for any number of characters but "/", `?` for one. No regular
 * expression, since patterns come from users: at most length of pattern × length of text steps.
 */
export function globMatches(pattern: string, text: string): boolean {
  let p = 0;
  let t = 0;
  let star = -1;
  let retry = 0;
  while (t < text.length) {
    const wanted = pattern[p];
    if (wanted === '*') {
      star = p;
      retry = t;
      p += 1;
    } else if (wanted === text[t] || (wanted === '?' && text[t] !== '/')) {
      p += 1;
      t += 1;
    } else if (star >= 0 && text[retry] !== '/') {
      retry += 1;
      t = retry;
      p = star + 1;
    } else return false;
  }
  while (pattern[p] === '*') p += 1;
  return p === pattern.length;
}

/** Whether the text is a pattern at all, and not merely itself. */
export function isGlob(text: string): boolean {
  return /[*?]/.test(text);
}
