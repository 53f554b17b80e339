import { z } from 'zod';
import { ExecError, type Exec } from './exec.ts';
import { parseTool } from './tool-output.ts';

/** What `ip -d -j addr show` says of a device of any kind; without `-d` there is no `linkinfo`. */
export const deviceEntry = z.looseObject({
  ifname: z.string().optional(),
  mtu: z.int().optional(),
  flags: z.array(z.string()).optional(),
  linkinfo: z.looseObject({ info_kind: z.string().optional() }).optional(),
  addr_info: z
    .array(
      z.looseObject({
        family: z.string().optional(),
        local: z.string().optional(),
        prefixlen: z.int().optional(),
        scope: z.string().optional(),
      }),
    )
    .optional(),
});
export type DeviceEntry = z.infer<typeof deviceEntry>;
type AddressEntry = NonNullable<DeviceEntry['addr_info']>[number];

/** What `ip` says of the device, as `schema` reads it; undefined when there is none of that name. Throws ExecError or ToolOutputError. */
export async function showDevice<T extends DeviceEntry>(
  exec: Exec,
  name: string,
  schema: z.ZodType<T>,
  signal?: AbortSignal,
): Promise<T | undefined> {
  let stdout: string;
  try {
    ({ stdout } = await exec('ip', ['-d', '-j', 'addr', 'show', 'dev', name], {}, signal));
  } catch (error) {
    if (error instanceof ExecError && /does not exist/.test(error.stderr)) return undefined;
    throw error;
  }
  return parseTool(z.array(schema), stdout, 'ip addr').find((entry) => entry.mtu !== undefined);
}

/**
 * What `ip` says of all devices and addresses that `selection` chooses (`dev nap0`, `to 10.77.0.0/16`, …). A device of which no address is
 * chosen is left out, or has none. Throws ExecError or ToolOutputError.
 */
export async function showAddresses(
  exec: Exec,
  family: '-4' | '-6',
  selection: readonly string[],
  signal?: AbortSignal,
): Promise<readonly DeviceEntry[]> {
  const { stdout } = await exec('ip', [family, '-j', 'addr', 'show', ...selection], {}, signal);
  return parseTool(z.array(deviceEntry), stdout, 'ip addr');
}

/** Addresses of a device that `wanted` accepts, as `address/length`. */
export function addressesOf(
  { addr_info: addresses = [] }: DeviceEntry,
  wanted: (address: AddressEntry) => boolean,
): readonly string[] {
  return addresses
    .filter(wanted)
    .map(({ local = '', prefixlen = 0 }) => `${local}/${String(prefixlen)}`);
}
