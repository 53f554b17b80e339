import { tryParseIpv4 } from './cidr.ts';

/**
 * Whether a host, as in a URL or a flag, is this machine itself: `localhost`, 127.0.0.0/8 (RFC 1122, 3.2.1.3) or ::1, with
 * brackets or without. A name that only begins like such an address is not.
 */
export function isLoopback(host: string): boolean {
  if (host === 'localhost' || host === '::1' || host === '[::1]') return true;
  return tryParseIpv4(host) !== undefined && host.startsWith('127.');
}
