import type { ServerUnderTest } from '../../support/apiserver.ts';
import { applySuite } from './apply.ts';
import { builtinsSuite } from './builtins.ts';
import { deletionSuite } from './deletion.ts';
import { discoverySuite } from './discovery.ts';
import { kindsSuite } from './kinds.ts';
import { listsSuite } from './lists.ts';
import { objectsSuite } from './objects.ts';
import { watchesSuite } from './watches.ts';

/** Everything that a client of Kubernetes relies on. It describes Kubernetes: every server of nap's CRDs must pass. */
export function contractSuite(server: () => ServerUnderTest): void {
  discoverySuite(server);
  objectsSuite(server);
  kindsSuite(server);
  listsSuite(server);
  watchesSuite(server);
  applySuite(server);
  deletionSuite(server);
  builtinsSuite(server);
}
