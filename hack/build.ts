/**
 * Bundles the one program: dist/nap.js and its parts, plain ESM for the lowest supported Node.
 * Bundled, client-node costs about a quarter of the memory and start-up time that it costs unbundled.
 */
import { chmod, readdir, readFile, rename, rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import { build as bundle, type Plugin } from 'esbuild';
import protobuf from 'protobufjs';

const { version } = JSON.parse(await readFile('package.json', 'utf8')) as { version: string };

/** etcd3 reads its protocol from a file beside its own sources; a bundle has no such file, so it goes inside. */
const etcdProtocolInside: Plugin = {
  name: 'etcd-protocol-inside',
  setup(build) {
    build.onLoad({ filter: /etcd3\/lib\/connection-pool\.js$/ }, async ({ path }) => {
      const source = await readFile(path, 'utf8');
      const call = 'proto_loader_1.loadSync)(`${__dirname}/../proto/rpc.proto`';
      if (!source.includes(call)) throw new Error(`${path} loads its protocol in another way now`);
      const root = new protobuf.Root();
      await root.load(path.replace('lib/connection-pool.js', 'proto/rpc.proto'), {
        keepCase: true,
      });
      const protocol = JSON.stringify(root.toJSON());
      return { contents: source.replace(call, () => `proto_loader_1.fromJSON)(${protocol}`) };
    });
  },
};

/** docker-modem can speak to engines over ssh; an agent speaks to the local socket only. */
const noSsh: Plugin = {
  name: 'no-ssh',
  setup(build) {
    build.onResolve({ filter: /^ssh2$/ }, () => ({ path: 'ssh2', namespace: 'no-ssh' }));
    build.onLoad({ filter: /.*/, namespace: 'no-ssh' }, () => ({
      contents: "exports.Client = class { constructor() { throw new Error('nap has no ssh'); } };",
    }));
  },
};

/**
 * koffi looks for its binary among the packages that npm has installed; a bundle has none, so the binaries for this platform, one
 * for each C library, go beside it. On another one nap does without.
 */
const koffiBeside: Plugin = {
  name: 'koffi-beside',
  setup(build) {
    const folder = resolve(`node_modules/@koromix/koffi-${process.platform}-${process.arch}`);
    build.onResolve({ filter: /^koffi$/ }, () => ({ path: 'koffi', namespace: 'koffi-beside' }));
    build.onLoad({ filter: /.*/, namespace: 'koffi-beside' }, async () => {
      // npm installs what is for this platform; for some there is nothing.
      const libraries = (await readdir(folder).catch(() => []))
        .filter((name) => name.endsWith(process.arch))
        .sort();
      const tries = libraries.map((name) => `() => require('${folder}/${name}/koffi.node')`);
      const contents = `
        let koffi, error;
        for (const load of [${tries.join(', ')}]) {
          try { koffi ??= load(); } catch (e) { error = e; }
        }
        if (koffi === undefined) throw error ?? new Error('built where koffi has no binary');
        export default koffi;`;
      return { contents, resolveDir: folder };
    });
  },
};

// Built aside and then swapped: a build that fails leaves the last good one in place.
const aside = 'dist.new';
await rm(aside, { recursive: true, force: true });
await bundle({
  entryPoints: ['src/cmd/nap.ts'],
  outdir: aside,
  // One file for what all commands share, one for each part that only some of them load.
  splitting: true,
  chunkNames: 'parts/[name]-[hash]',
  assetNames: 'parts/[name]-[hash]',
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  sourcemap: 'linked',
  legalComments: 'linked',
  minifyWhitespace: true,
  minifySyntax: true,
  define: { NAP_VERSION: JSON.stringify(version) },
  loader: { '.yaml': 'text', '.node': 'copy' },
  plugins: [etcdProtocolInside, noSsh, koffiBeside],
  banner: {
    js: [
      "import { createRequire as __createRequire } from 'node:module';",
      'const require = __createRequire(import.meta.url);',
      'const __dirname = import.meta.dirname;',
    ].join('\n'),
  },
  logLevel: 'warning',
});
await chmod(`${aside}/nap.js`, 0o755);
await rm('dist', { recursive: true, force: true });
await rename(aside, 'dist');
