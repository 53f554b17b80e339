import {
  defaultNetworkConfig,
  overlayConfig,
  OverlayConfigError,
  type OverlayConfig,
} from '../../network/overlay/overlay-config.ts';
import { isTunnelKey } from '../../network/overlay/tunnel-key.ts';
import {
  networkConfigPath,
  networkConfigRecords,
  subnetRecords,
} from '../../registry/records/subnet.ts';
import type { Store } from '../../registry/store.ts';
import { asError } from '../../runtime/errors.ts';

/**
 * Reads the network config and writes the default one if there is none. That does not encrypt: where something shows that the
 * overlay did, the config has been lost, and nobody but its owner may say what it is to be. Throws OverlayConfigError or the
 * store's errors.
 * @param traces what on this host shows that the overlay was encrypted, in words; undefined: nothing does
 */
export async function readNetworkConfig(
  store: Store,
  traces: () => Promise<string | undefined>,
  signal?: AbortSignal,
): Promise<OverlayConfig> {
  const key = networkConfigPath;
  let entry = await store.get(key, signal);
  if (entry === undefined) {
    const found = (await encryptingRecord(store, signal)) ?? (await traces());
    if (found !== undefined) throw new OverlayConfigError(lostConfig(found));
    const value = networkConfigRecords.encode(defaultNetworkConfig);
    await store.commit([{ type: 'absent', key }], [{ type: 'put', key, value }], signal);
    entry = await store.get(key, signal);
  }
  return parseNetworkConfig(entry?.value ?? '');
}

function lostConfig(found: string): string {
  const { Network, Backend } = defaultNetworkConfig;
  const example = JSON.stringify({ Network, Backend: { ...Backend, Encryption: 'wireguard' } });
  return (
    `${networkConfigPath} is not there, but this host's overlay was encrypted: ${found}. The default config, which ` +
    `does not encrypt, is not written in its place: write it again as it was, for example ${example}, ` +
    'or without "Encryption" if hosts are to speak in the clear'
  );
}

/** What in the records of hosts shows that they encrypt. */
async function encryptingRecord(store: Store, signal?: AbortSignal): Promise<string | undefined> {
  const { entries } = await store.list(subnetRecords.prefix, {}, signal);
  const found = entries.find(({ value }) => {
    try {
      return isTunnelKey(subnetRecords.decode(value).BackendData?.WireGuardPublicKey);
    } catch {
      return false;
    }
  });
  return found && `the record ${found.key} has a WireGuardPublicKey`;
}

/** Throws OverlayConfigError, with the path of the record. */
export function parseNetworkConfig(text: string): OverlayConfig {
  try {
    return overlayConfig(networkConfigRecords.decode(text));
  } catch (error) {
    throw new OverlayConfigError(`${networkConfigPath}: ${asError(error).message}`);
  }
}
