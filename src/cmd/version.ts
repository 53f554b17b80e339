declare const NAP_VERSION: string | undefined;

/** nap's version, set when the binary is bundled; "dev" when run from source. */
export const version: string = typeof NAP_VERSION === 'string' ? NAP_VERSION : 'dev';
