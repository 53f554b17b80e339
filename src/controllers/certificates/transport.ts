import { rootCertificates } from 'node:tls';
import { Agent, request } from 'undici';

/** What came back. Names of headers are in lower case. */
export interface AcmeAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly body: string;
}

/** Brings a request to the authority. Rejects when there is no answer, or when `signal` aborts. */
export type AcmeTransport = (
  method: 'GET' | 'HEAD' | 'POST',
  url: string,
  body: string | undefined,
  signal: AbortSignal,
) => Promise<AcmeAnswer>;

/** An answer that is longer is none: a chain of certificates has some thousand bytes. */
const mostBytes = 1_000_000;

/** Over https. @param ca PEM of a root that is trusted beside those that are public */
export function httpsTransport(ca: string | undefined): AcmeTransport {
  const dispatcher = new Agent({
    connect: { timeout: 10_000, ...(ca === undefined ? {} : { ca: [...rootCertificates, ca] }) },
    keepAliveTimeout: 10_000,
    maxResponseSize: mostBytes,
  });
  return async (method, url, body, signal) => {
    const response = await request(url, {
      ...{ method, dispatcher, signal },
      headers: {
        'user-agent': 'nap',
        'accept-language': 'en',
        ...(body === undefined ? {} : { 'content-type': 'application/jose+json' }),
      },
      ...(body === undefined ? {} : { body }),
    });
    const headers = Object.entries(response.headers).map(([name, value]) => [
      name,
      Array.isArray(value) ? value[0] : value,
    ]);
    return {
      status: response.statusCode,
      headers: Object.fromEntries(headers) as AcmeAnswer['headers'],
      body: await response.body.text(),
    };
  };
}
