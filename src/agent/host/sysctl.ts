import type { Exec } from './exec.ts';

/**
 * Sets kernel parameters that differ from what is wanted. Keys are paths under /proc/sys (`net/ipv4/ip_forward`):
 * only this form allows dots in interface names. Returns what was changed.
 */
export async function ensureSysctls(
  exec: Exec,
  wanted: Readonly<Record<string, string>>,
  signal?: AbortSignal,
): Promise<readonly string[]> {
  const keys = Object.keys(wanted);
  const { stdout } = await exec('sysctl', ['-n', ...keys], {}, signal);
  const values = stdout.trim().split('\n');
  const wrong = keys.filter((key, i) => values[i]?.trim() !== wanted[key]);
  if (wrong.length === 0) return [];
  await exec(
    'sysctl',
    ['-q', '-w', ...wrong.map((key) => `${key}=${wanted[key] ?? ''}`)],
    {},
    signal,
  );
  return wrong.map((key) => `${key} set to ${wanted[key] ?? ''}`);
}
