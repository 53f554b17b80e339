import { stringify } from 'yaml';
import type { TlsMaterial } from './credentials.ts';

/** A kubeconfig with one context, all certificates inside: a single file that can be carried elsewhere. */
export function kubeconfig(server: string, user: string, tls: TlsMaterial | undefined): string {
  const base64 = (pem: string): string => Buffer.from(pem).toString('base64');
  return stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [
      {
        name: 'nap',
        cluster: {
          server,
          ...(tls === undefined ? {} : { 'certificate-authority-data': base64(tls.ca) }),
        },
      },
    ],
    users: [
      {
        name: user,
        user:
          tls === undefined
            ? {}
            : {
                'client-certificate-data': base64(tls.cert),
                'client-key-data': base64(tls.key),
              },
      },
    ],
    contexts: [{ name: 'nap', context: { cluster: 'nap', user, namespace: 'default' } }],
    'current-context': 'nap',
  });
}
