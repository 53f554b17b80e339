/** How deep objects and lists may nest. Real objects stay below 50; recursion over 256 levels is safe everywhere. */
export const maxDepth = 256;

/** JSON that is well-formed but not acceptable, or not well-formed at all. */
export class JsonTextError extends Error {
  override readonly name = 'JsonTextError';
  readonly retryable = false;
}

interface Frame {
  readonly path: string;
  /** Members seen so far; undefined for a list. */
  readonly members: Set<string> | undefined;
  index: number;
  /** Member whose value comes next. */
  member: string;
}

/**
 * Parses JSON and names the members that occur twice in one object, like `spec.image` (JSON.parse
 * keeps the last one silently). Refuses texts that nest deeper than `maxDepth`.
 */
export function parseJsonText(text: string): { value: unknown; duplicates: string[] } {
  const duplicates = scan(text);
  try {
    return { value: JSON.parse(text) as unknown, duplicates };
  } catch (error) {
    throw new JsonTextError(error instanceof Error ? error.message : 'malformed JSON');
  }
}

/** One pass over the text, without recursion, so that depth cannot exhaust the stack. */
function scan(text: string): string[] {
  const duplicates: string[] = [];
  const stack: Frame[] = [];
  let expectMember = false;
  for (let i = 0; i < text.length; i++) {
    const top = stack.at(-1);
    switch (text.charCodeAt(i)) {
      case 0x22: {
        const end = endOfString(text, i);
        if (expectMember && top?.members !== undefined) {
          const member = unquote(text.slice(i, end + 1));
          if (top.members.has(member)) duplicates.push(join(top.path, member));
          top.members.add(member);
          top.member = member;
          expectMember = false;
        }
        i = end;
        break;
      }
      case 0x7b:
      case 0x5b: {
        if (stack.length >= maxDepth) throw new JsonTextError(`exceeded max depth of ${maxDepth}`);
        const isMap = text.charCodeAt(i) === 0x7b;
        const path = top === undefined ? '' : childPath(top);
        stack.push({ path, members: isMap ? new Set() : undefined, index: 0, member: '' });
        expectMember = isMap;
        break;
      }
      case 0x7d:
      case 0x5d:
        stack.pop();
        expectMember = false;
        break;
      case 0x2c:
        if (top !== undefined) {
          top.index++;
          expectMember = top.members !== undefined;
        }
        break;
      default:
    }
  }
  return duplicates;
}

function endOfString(text: string, start: number): number {
  for (let i = start + 1; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x5c) i++;
    else if (code === 0x22) return i;
  }
  return text.length;
}

function unquote(quoted: string): string {
  if (!quoted.includes('\\')) return quoted.slice(1, -1);
  try {
    return JSON.parse(quoted) as string;
  } catch {
    return quoted;
  }
}

const join = (path: string, member: string): string => (path === '' ? member : `${path}.${member}`);

function childPath(frame: Frame): string {
  return frame.members === undefined
    ? `${frame.path}[${frame.index}]`
    : join(frame.path, frame.member);
}
