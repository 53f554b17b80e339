import type { ServiceIdentity } from '../../api/v1alpha1/names.ts';
import type { ContainerAddress } from '../docker/engine.ts';
import type { AddressBook } from './address-book.ts';
import type { AddressWriter } from './address-writer.ts';

/** Where containers get their addresses from, and how the other hosts learn of it. */
export type AddressPool = Pick<AddressBook, 'reserve' | 'release' | 'refuse'> &
  Pick<AddressWriter, 'told'> & {
    /** The twin of an address, which the same container gets. Absent, or undefined: the overlay carries IPv4 only. */
    readonly ipv6Of?: (address: string) => string | undefined;
  };

/**
 * The registry takes milliseconds to be told. When it cannot be told, nothing waits for it any longer: the container runs, and is
 * let in elsewhere as soon as it can be.
 */
const toldWithinMs = 1_000;

/**
 * Makes a container at an address of its own. When this resolves, the registry says whose it is, so that by the time that the container
 * speaks the other hosts know, too: starting one takes the engine several times as long as they need.
 * @param make has to have the container noted as seen when it resolves
 */
export async function withAddress<T>(
  pool: AddressPool | undefined,
  owner: ServiceIdentity,
  make: (address: ContainerAddress | undefined) => Promise<T>,
): Promise<T> {
  const address = pool?.reserve(owner);
  if (pool === undefined || address === undefined) return make(undefined);
  try {
    const ipv6 = pool.ipv6Of?.(address);
    const made = await make({ ipv4: address, ...(ipv6 !== undefined && { ipv6 }) });
    await pool.told(address, toldWithinMs);
    return made;
  } finally {
    pool.release(address);
  }
}
