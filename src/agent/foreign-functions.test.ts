import { expect, it } from 'vitest';
import { foreignFunctions } from './foreign-functions.ts';

/** REG_EXTENDED of regex.h. */
const extended = 1;
/** More than a regex_t has. */
const compiledBytes = 256;

it('calls beside the main thread have room on their stack, whoever was first to ask', async () => {
  const [koffi] = await Promise.all([foreignFunctions(), foreignFunctions()]);
  const compile = koffi.load(null).func('int regcomp(void *, const char *, int)');
  await foreignFunctions();
  // glibc calls itself for each parenthesis, and needs some hundred kilobytes for so many.
  const pattern = `${'('.repeat(2_000)}x${')'.repeat(2_000)}`;
  const status = await new Promise((resolve, reject) => {
    compile.async(
      Buffer.alloc(compiledBytes),
      pattern,
      extended,
      (error: Error | null, result: unknown) => {
        if (error === null) resolve(result);
        else reject(error);
      },
    );
  });
  expect(status).toBe(0);
});
