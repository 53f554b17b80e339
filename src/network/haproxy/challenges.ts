import { safeHost, safeKeyAuthorization, safeToken } from './words.ts';

/** Name of the file, in the router's directory, from which a router that starts or loads anew has its answers. */
export const challengeFile = 'acme.map';

/** What the router is to answer on `/.well-known/acme-challenge/<token>` of a host (RFC 8555, 8.3). */
export interface Challenge {
  readonly host: string;
  readonly token: string;
  readonly keyAuthorization: string;
}

/** Keys (`host/token`) and answers; what is not safe to write down is left out. */
export function challengeMap(challenges: Iterable<Challenge>): ReadonlyMap<string, string> {
  const map = new Map<string, string>();
  for (const { host, token, keyAuthorization } of challenges) {
    const name = safeHost(host);
    const answer = safeKeyAuthorization(keyAuthorization);
    if (name === undefined || name.includes('*') || answer === undefined) continue;
    if (safeToken(token) === undefined || !answer.startsWith(`${token}.`)) continue;
    map.set(`${name}/${token}`, answer);
  }
  return map;
}

/** The file. Equal maps give equal texts. */
export function renderChallenges(map: ReadonlyMap<string, string>): string {
  return [...map]
    .map(([key, answer]) => `${key} ${answer}\n`)
    .sort()
    .join('');
}

/** Reads what HAProxy says to `show map`; undefined: it has no such map. */
export function parseMap(text: string): ReadonlyMap<string, string> | undefined {
  if (/^Unknown map/m.test(text)) return undefined;
  const map = new Map<string, string>();
  for (const line of text.split('\n')) {
    // Address of the entry, key, value.
    const [, key, value] = line.trim().split(/\s+/);
    if (key !== undefined && value !== undefined) map.set(key, value);
  }
  return map;
}

/** Commands that make the map `present` of a running HAProxy the one that is wanted. @param file as HAProxy names it */
export function planMap(
  file: string,
  wanted: ReadonlyMap<string, string>,
  present: ReadonlyMap<string, string>,
): string[] {
  const gone = [...present.keys()].filter((key) => !wanted.has(key));
  const commands = gone.map((key) => `del map ${file} ${key}`);
  for (const [key, value] of wanted) {
    const before = present.get(key);
    if (before === undefined) commands.push(`add map ${file} ${key} ${value}`);
    else if (before !== value) commands.push(`set map ${file} ${key} ${value}`);
  }
  return commands;
}
