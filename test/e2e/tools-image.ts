import { join } from 'node:path';
import type { Box } from '../support/box.ts';
import { directory, toolsImage } from './place.ts';

/** What the image is made of. Made once for the whole run. */
export const toolsTar = join(directory, 'tools.tar');

/** Gives the engine of a host the image. */
export async function importTools(box: Box, host: string): Promise<void> {
  const changes = ['--change', 'ENV PATH=/bin', '--change', 'CMD ["sleep","1000000"]'];
  await box.docker(host, 'import', ...changes, toolsTar, toolsImage);
}
