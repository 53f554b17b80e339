import {
  defaultNetworkConfig,
  overlayConfig,
  OverlayConfigError,
  type OverlayConfig,
} from '../../network/overlay-config.ts';
import { networkConfigPath, networkConfigRecords } from '../../registry/records/subnet.ts';
import type { Store } from '../../registry/store.ts';
import { asError } from '../../runtime/errors.ts';

/** Reads the network config and writes the default one if there is none. Throws OverlayConfigError or the store's errors. */
export async function readNetworkConfig(
  store: Store,
  signal?: AbortSignal,
): Promise<OverlayConfig> {
  const key = networkConfigPath;
  let entry = await store.get(key, signal);
  if (entry === undefined) {
    const value = networkConfigRecords.encode(defaultNetworkConfig);
    await store.commit([{ type: 'absent', key }], [{ type: 'put', key, value }], signal);
    entry = await store.get(key, signal);
  }
  return parseNetworkConfig(entry?.value ?? '');
}

/** Throws OverlayConfigError, with the path of the record. */
export function parseNetworkConfig(text: string): OverlayConfig {
  try {
    return overlayConfig(networkConfigRecords.decode(text));
  } catch (error) {
    throw new OverlayConfigError(`${networkConfigPath}: ${asError(error).message}`);
  }
}
