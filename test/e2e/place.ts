import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { BoxPlace } from '../support/box.ts';
import type { ControlPlanePlace } from '../support/control-plane.ts';

/** Always the same, so that a run finds what a crashed one left behind. */
export const directory = join(tmpdir(), 'nap-e2e');

export const hosts = ['h1', 'h2', 'h3'] as const;
export type HostName = (typeof hosts)[number];

export const boxPlace: BoxPlace = {
  name: 'e2e',
  net: '10.98.0',
  directory: join(directory, 'box'),
};

/** Of an API server to use instead of nap's own. It must be there for these tests alone: they remove what they find. */
const kubeconfig = process.env['NAP_E2E_KUBECONFIG'] ?? '';

export const planePlace: ControlPlanePlace = {
  directory: join(directory, 'control'),
  address: '10.98.0.254',
  etcdPort: 22_379,
  apiPort: 26_443,
  binary: join(directory, 'dist/nap.js'),
  ...(kubeconfig === '' ? {} : { kubeconfig: resolve(kubeconfig) }),
};

/** busybox, for everything that needs no more. */
export const toolsImage = 'nap-e2e/tools:1';
/** The same content under another tag. */
export const otherToolsImage = 'nap-e2e/tools:2';
