/** The canonical form of an absolute path below the root, or undefined where it is none, or climbs. */
export function cleanPath(path: string): string | undefined {
  const segments = path.split('/').filter((segment) => segment !== '' && segment !== '.');
  const fine = path.startsWith('/') && segments.length > 0 && !segments.includes('..');
  return fine && !path.includes('\0') ? `/${segments.join('/')}` : undefined;
}
