/**
 * Bundles the one binary: dist/nap.js, plain ESM for the lowest supported Node.
 * Bundled, client-node costs about a quarter of the memory and start-up time that it costs unbundled.
 */
import { chmod, readFile } from 'node:fs/promises';
import { build } from 'esbuild';

const { version } = JSON.parse(await readFile('package.json', 'utf8')) as { version: string };

await build({
  entryPoints: ['src/cmd/nap.ts'],
  outfile: 'dist/nap.js',
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  sourcemap: 'linked',
  legalComments: 'linked',
  keepNames: true,
  define: { NAP_VERSION: JSON.stringify(version) },
  loader: { '.yaml': 'text', '.node': 'empty' },
  // Optional native speed-ups of ssh2, which nap does not use: the agent talks to a local socket only.
  external: ['cpu-features', './crypto/build/Release/sshcrypto.node'],
  banner: {
    js: [
      '#!/usr/bin/env node',
      "import { createRequire as __createRequire } from 'node:module';",
      'const require = __createRequire(import.meta.url);',
    ].join('\n'),
  },
  logLevel: 'warning',
});
await chmod('dist/nap.js', 0o755);
