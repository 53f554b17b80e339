import {
  acmeDirectoryAnnotation,
  acmeNamesAnnotation,
  acmeServiceAnnotation,
} from '../../api/v1alpha1/group.ts';
import type { KubeClient } from '../../kube/client.ts';
import { secrets, type Secret } from '../../kube/resources.ts';
import { contentOf } from '../content/feed.ts';
import { acmeWish, foreignSecret, type ObtainedCertificate } from '../routes/resolve.ts';
import { AcmeError } from './acme-error.ts';
import { findSecret } from './find-secret.ts';
import type { Obtained } from './obtain.ts';

/** Where the certificate of a host is kept. */
export interface CertificatePlace {
  readonly host: string;
  readonly namespace: string;
  /** Name of the Secret. */
  readonly secret: string;
}

/** What is there now, as the API server itself says. */
export interface KeptCertificate {
  /** Absent: there is no Secret. */
  readonly object?: Secret;
  /** Absent: nothing that serves the host. */
  readonly certificate?: ObtainedCertificate;
}

/** Reads the Secret. @throws {AcmeError} when it is somebody else's */
export async function readCertificate(
  client: Pick<KubeClient, 'list'>,
  { host, namespace, secret }: CertificatePlace,
  signal: AbortSignal,
): Promise<KeptCertificate> {
  const object = await findSecret(client, { namespace, name: secret }, signal);
  if (object === undefined) return {};
  const { certificate, foreign } = acmeWish(
    host,
    secret,
    true,
    () => contentOf('Secret', object),
    new Map(),
  ).wish;
  if (foreign) throw new AcmeError('refused', foreignSecret(host, secret));
  return { object, ...(certificate === undefined ? {} : { certificate }) };
}

/**
 * Keeps a certificate, in place of `kept` and of nothing else: when somebody has written the Secret meanwhile, it rejects with
 * a conflict.
 */
export async function writeCertificate(
  client: Pick<KubeClient, 'create' | 'update'>,
  { host, namespace, secret }: CertificatePlace,
  kept: KeptCertificate,
  obtained: Obtained,
  from: { readonly directory: string; readonly service: string },
  signal: AbortSignal,
): Promise<void> {
  const { object } = kept;
  const data = {
    ...object?.data,
    'tls.crt': Buffer.from(obtained.chain).toString('base64'),
    'tls.key': Buffer.from(obtained.key).toString('base64'),
  };
  const annotations = {
    ...object?.metadata.annotations,
    [acmeDirectoryAnnotation]: from.directory,
    [acmeNamesAnnotation]: host,
    [acmeServiceAnnotation]: from.service,
  };
  if (object !== undefined) {
    const metadata = { ...object.metadata, annotations };
    await client.update(secrets, { ...object, metadata, data }, signal);
    return;
  }
  const labels = { 'app.kubernetes.io/managed-by': 'nap-operator' };
  const metadata = { namespace, name: secret, labels, annotations };
  await client.create(secrets, { metadata, type: 'kubernetes.io/tls', data }, signal);
}
