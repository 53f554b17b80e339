/**
 * An image reference as the engine reads it: `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`.
 * The grammar is that of github.com/distribution/reference, written out.
 */
const component = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*';
const domainLabel = '[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?';
const domain = `(?:${domainLabel}(?:\\.${domainLabel})*|\\[[0-9a-fA-F:]+\\])(?::[0-9]+)?`;
const tag = '[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}';
const digest = '[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}';
const reference = new RegExp(
  `^(?:${domain}/)?${component}(?:/${component})*(?::${tag})?(?:@${digest})?$`,
);

/** Longest repository name, characters (distribution/reference). */
const maxNameLength = 255;

export function isImageReference(text: string): boolean {
  // The length is checked first: the expression is only run on what is short enough not to be slow.
  if (text.length > 512 || !reference.test(text)) return false;
  return (text.split('@')[0] ?? '').replace(/:[^/:]*$/, '').length <= maxNameLength;
}
