import { createPrivateKey, generateKeyPairSync, randomBytes, type KeyObject } from 'node:crypto';
import type { KubeClient } from '../../kube/client.ts';
import { isAlreadyExists } from '../../kube/errors.ts';
import { secrets, type Secret } from '../../kube/resources.ts';
import { findSecret } from './find-secret.ts';
import { AcmeError } from './acme-error.ts';

/** Name of the Secret, in the operator's own namespace. */
export const accountSecretName = 'nap-acme-account';

/** What authorities know the operators of a cluster by. */
export interface AcmeAccount {
  /** Signs all requests: P-256. */
  readonly key: KeyObject;
  /** From which keys of certificates are made. */
  readonly seed: Uint8Array;
}

const keyEntry = 'account.key';
const seedEntry = 'certificates.seed';

/**
 * The account, from its Secret; made by the first who asks. Of several that make one at a time, one does, and the others take that.
 * One that cannot be read is not replaced: with another key all certificates would be another account's.
 */
export async function readAccount(
  client: Pick<KubeClient, 'list' | 'create'>,
  namespace: string,
  signal: AbortSignal,
): Promise<AcmeAccount> {
  const name = { namespace, name: accountSecretName };
  const present = await findSecret(client, name, signal);
  if (present !== undefined) return accountOf(present);
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const pem = privateKey.export({ format: 'pem', type: 'pkcs8' });
  const object = {
    metadata: { ...name, labels: { 'app.kubernetes.io/managed-by': 'nap-operator' } },
    type: 'Opaque',
    data: {
      [keyEntry]: Buffer.from(pem).toString('base64'),
      [seedEntry]: randomBytes(32).toString('base64'),
    },
  };
  try {
    return accountOf(await client.create(secrets, object, signal));
  } catch (error) {
    if (!isAlreadyExists(error)) throw error;
    const others = await findSecret(client, name, signal);
    if (others === undefined) throw error;
    return accountOf(others);
  }
}

function accountOf({ data, metadata }: Secret): AcmeAccount {
  const { namespace = '', name } = metadata;
  const mend = `remove it, and a new account is made`;
  const bytes = (entry: string): Buffer => Buffer.from(data?.[entry] ?? '', 'base64');
  const seed = bytes(seedEntry);
  let key: KeyObject | undefined;
  try {
    key = createPrivateKey(bytes(keyEntry));
  } catch {
    // Said below.
  }
  if (seed.length < 32 || key?.asymmetricKeyDetails?.namedCurve !== 'prime256v1') {
    throw new AcmeError('refused', `Secret ${namespace}/${name} has no usable account: ${mend}`);
  }
  return { key, seed };
}
