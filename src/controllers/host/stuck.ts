import { instanceName } from '../../api/v1alpha1/names.ts';
import type { PlacementBook } from '../placement/book.ts';
import type { PlacementLoop } from '../placement/loop.ts';
import type { ServiceDirectory } from '../service/directory.ts';
import type { StuckInstance } from './drain.ts';

export interface StuckSources {
  readonly book: PlacementBook;
  readonly directory: ServiceDirectory;
  readonly loop: PlacementLoop;
}

/** What still is on a host that is being emptied, with what keeps it there. */
export function stuckOn(from: StuckSources): (host: string) => StuckInstance[] {
  const { book, directory, loop } = from;
  return (host) => {
    return book.servicesOn(host).flatMap((key) => {
      const wish = directory.get(key);
      const outcome = loop.outcome(key);
      return book.ofService(key).flatMap((placed) => {
        if (placed.host !== host || wish === undefined) return [];
        const { identity, want } = wish;
        const anchor =
          want.type === 'run' ? loop.rules.anchorOf(identity, want, placed) : undefined;
        const stays =
          outcome.unplaced !== undefined &&
          (outcome.unplaced.staying > 0 || outcome.unplaced.evicted !== undefined);
        const why =
          anchor ??
          (stays ? outcome.unplaced.explanation : undefined) ??
          (outcome.roll?.state === 'waiting' ? undefined : outcome.roll?.message) ??
          (want.type === 'invalid' ? `its spec is invalid: ${want.message}` : undefined) ??
          (want.type === 'run' && want.instances.oneshot !== undefined
            ? 'it runs to its end first'
            : undefined);
        const name = instanceName({ ...identity, ordinal: String(placed.ordinal) });
        return [{ name: `${identity.namespace}/${name}`, ...(why === undefined ? {} : { why }) }];
      });
    });
  };
}
