/**
 * What may stand in HAProxy's files. Users' words never reach them as they are: each goes through one of these, which
 * let only characters pass that mean nothing to HAProxy's parser (no spaces, quotes, backslashes, "#", "%", "$" in double
 * quotes, line ends), and say undefined to everything else. The schema refuses such words long before; this
 * holds whatever stands in the registry.
 */

/** A host of a route: a name, `*.NAME` or `*`. */
export function safeHost(host: string): string | undefined {
  const name = '[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?';
  const shape = new RegExp(`^([*]|([*][.])?${name}([.]${name})*)$`);
  return host.length <= 253 && shape.test(host) ? host : undefined;
}

/** A path prefix: first word of a line of a map file, so without spaces; "#" could only begin a line. */
export function safePath(path: string): string | undefined {
  return path.length <= 1024 && /^\/[A-Za-z0-9._~!$&'()*+,;=:@/-]*$/.test(path) ? path : undefined;
}

/** Scheme, host and port. */
export function safeAddress(url: string): string | undefined {
  const parts = /^(https?):\/\/([^:]+)(?::([1-9]\d{0,4}))?$/.exec(url);
  const host = parts?.[2];
  if (host === undefined || host.includes('*') || safeHost(host) === undefined) return undefined;
  return Number(parts?.[3] ?? 1) <= 65_535 ? url : undefined;
}

/** Name of a user. */
export function safeUser(name: string): string | undefined {
  return /^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$/.test(name) ? name : undefined;
}

/** A hash as crypt(3) writes it: SHA-256, SHA-512 or bcrypt. "$" means something between double quotes only. */
export function safeCrypt(hash: string): string | undefined {
  const sha = /^\$[56]\$(rounds=\d{1,9}\$)?[A-Za-z0-9./]{1,16}\$[A-Za-z0-9./]{43,86}$/;
  const bcrypt = /^\$2[aby]\$\d\d\$[A-Za-z0-9./]{53}$/;
  return sha.test(hash) || bcrypt.test(hash) ? hash : undefined;
}

/** Hexadecimal; names files. */
export function safeHash(hash: string): string | undefined {
  return /^[0-9a-f]{16,128}$/.test(hash) ? hash : undefined;
}

export function safePort(port: number): number | undefined {
  return Number.isInteger(port) && port >= 1 && port <= 65_535 ? port : undefined;
}

/** Token of an ACME challenge (RFC 8555, 8.1): base64url; a part of a path, of a key in the registry, and of a line of a map. */
export function safeToken(token: string): string | undefined {
  return /^[A-Za-z0-9_-]{1,256}$/.test(token) ? token : undefined;
}

/** Token and thumbprint of the account's key. */
export function safeKeyAuthorization(text: string): string | undefined {
  return /^[A-Za-z0-9_-]{1,256}[.][A-Za-z0-9_-]{16,128}$/.test(text) ? text : undefined;
}
