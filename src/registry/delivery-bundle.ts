import { z } from 'zod';
import type { ContentBundle } from '../api/v1alpha1/content.ts';
import { deliveredTemplate } from '../api/v1alpha1/template-spec.ts';
import { open, seal, SealError, type HostKey } from './seal.ts';

/** What a delivery says when it is opened. `files` are base64, in the order of the container spec's. */
const bundleText = z.object({
  hash: z.string(),
  files: z.array(z.string()),
  environment: z.record(z.string(), z.string()),
  templates: z.array(deliveredTemplate).optional(),
});

/** Seals a bundle for a host. @param path of the delivery record. @throws {SealError} */
export function sealBundle(publicKey: string, path: string, bundle: ContentBundle): string {
  const { hash, files, environment, templates } = bundle;
  const encoded = files.map((bytes) => Buffer.from(bytes).toString('base64'));
  return seal(publicKey, path, JSON.stringify({ hash, files: encoded, environment, templates }));
}

/** @throws {SealError} */
export function openBundle(host: HostKey, path: string, sealed: string): ContentBundle {
  const text = open(host, path, sealed);
  try {
    const { hash, files, environment, templates } = bundleText.parse(JSON.parse(text));
    return {
      hash,
      files: files.map((file) => Buffer.from(file, 'base64')),
      environment,
      ...(templates === undefined ? {} : { templates }),
    };
  } catch {
    throw new SealError('what was sealed is not a delivery');
  }
}
