import type { AcmeOrderRecord } from '../../registry/records/acme.ts';
import type { CertificateNews } from '../routes/route-table.ts';

/** What there is to say about a certificate where no authority was named. */
export const noAuthority: CertificateNews = {
  problem: {
    reason: 'AcmeNotConfigured',
    message: 'no certificates are obtained: start nap up or nap operator with --acme-directory',
  },
  note: 'certificates are not renewed: start nap up or nap operator with --acme-directory',
};

/** What there is to say about the certificate of a host that is obtained. Pure. @param order as it stands with this authority */
export function newsOf(
  host: string,
  directory: string,
  order: AcmeOrderRecord | undefined,
  routers: boolean,
): CertificateNews {
  const authority = new URL(directory).host;
  if (order?.problem === undefined) {
    const message = routers
      ? `a certificate for ${host} is being obtained from ${authority}`
      : `a certificate for ${host} is obtained when a router runs`;
    return { problem: { reason: 'CertificatePending', message } };
  }
  const again = order.retryAt === undefined ? '' : `; tried again at ${order.retryAt}`;
  const message = `no certificate for ${host} from ${authority}: ${order.problem}${again}`;
  return {
    problem: { reason: 'CertificateFailed', message },
    note: `the certificate of ${host} could not be renewed by ${authority}: ${order.problem}${again}`,
  };
}
