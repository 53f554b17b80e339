import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { output } from '../command.ts';

/** A web server that stops gracefully (server.pl), on port 80. */
export const webImage = 'nap-e2e/web:1';
/** The same content under another tag. */
export const otherWebImage = 'nap-e2e/web:2';

const script = new URL('server.pl', import.meta.url).pathname;

/** Perl as every Debian has it, and no more than the server needs of it. */
const build = `
set -eu
root=$1/root
mkdir -p "$root/bin" "$root/usr/bin" "$root/tmp"
cp "$(command -v busybox)" "$root/bin/busybox"
for applet in sh hostname sleep wget nc; do ln -s busybox "$root/bin/$applet"; done
cp /usr/bin/perl "$root/usr/bin/perl"
ldd /usr/bin/perl | sed -n 's/.*=> \\(\\/[^ ]*\\).*/\\1/p; s/^\\t\\(\\/[^ ]*\\) (.*/\\1/p' >"$1/libraries"
perl -MIO::Socket::INET -MErrno -e 'open my $s, ">&", 1; print map { "$_\\n" } values %INC' >"$1/modules"
perl -MIO -MSocket -MList::Util -e 'require DynaLoader; print map { "$_\\n" } @DynaLoader::dl_shared_objects' >>"$1/modules"
sort -u "$1/libraries" "$1/modules" | while read -r file; do
  case $file in /*) mkdir -p "$root$(dirname "$file")" && cp -L "$file" "$root$file" ;; esac
done
cp "$2" "$root/server.pl"
tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$root" -cf "$1/web.tar" .
`;

/** Makes the image and loads it into engines, by the paths of their sockets. */
export async function loadWebImage(sockets: readonly string[]): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'nap-web-'));
  try {
    await output(['sh', '-c', build, 'sh', directory, script]);
    const changes = [
      ...['--change', 'ENV PATH=/usr/bin:/bin'],
      ...['--change', 'CMD ["perl","/server.pl"]'],
    ];
    await Promise.all(
      sockets.map(async (socket) => {
        const docker = ['docker', '-H', `unix://${socket}`];
        await output([...docker, 'import', ...changes, join(directory, 'web.tar'), webImage]);
        await output([...docker, 'tag', webImage, otherWebImage]);
      }),
    );
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
