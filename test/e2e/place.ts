import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { BoxPlace } from '../support/box.ts';
import type { ControlPlanePlace } from '../support/control-plane.ts';

/**
 * Which of the clusters in a box: 0 to 9, so that several runs can go on at once. Each has always the same names, so that a run
 * finds what a crashed one left behind.
 */
const lane = Number(process.env['NAP_E2E_LANE'] ?? '0');
if (!/^[0-9]$/.test(String(lane))) throw new Error('NAP_E2E_LANE is a number from 0 to 9');
const suffix = lane === 0 ? '' : String(lane);

export const directory = join(tmpdir(), `nap-e2e${suffix}`);

export const hosts = ['h1', 'h2', 'h3'] as const;
export type HostName = (typeof hosts)[number];

export const boxPlace: BoxPlace = {
  name: `e2e${suffix}`,
  net: `10.98.${lane}`,
  directory: join(directory, 'box'),
};

/** Of an API server to use instead of nap's own. It must be there for these tests alone: they remove what they find. */
const kubeconfig = process.env['NAP_E2E_KUBECONFIG'] ?? '';

export const planePlace: ControlPlanePlace = {
  directory: join(directory, 'control'),
  address: `10.98.${lane}.254`,
  etcdPort: 22_379 + 10 * lane,
  apiPort: 26_443 + 10 * lane,
  acmePort: 24_000 + 10 * lane,
  binary: join(directory, 'dist/nap.js'),
  ...(kubeconfig === '' ? {} : { kubeconfig: resolve(kubeconfig) }),
};

/** busybox, for everything that needs no more. */
export const toolsImage = 'nap-e2e/tools:1';
/** The same content under another tag. */
export const otherToolsImage = 'nap-e2e/tools:2';
