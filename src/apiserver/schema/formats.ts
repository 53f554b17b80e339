import { isIP } from 'node:net';
import { fullFormats } from 'ajv-formats/dist/formats.js';
import type { Format } from 'ajv';

/** Go's time.ParseDuration, which is what Kubernetes means by `duration`. */
const goDuration = /^[-+]?(0|((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))+)$/;
const mac = /^([0-9a-f]{2}[:-]){5}[0-9a-f]{2}$/i;
const hexColor = /^#?([0-9a-f]{3}|[0-9a-f]{6})$/i;
const uuidOf = (version: string): RegExp =>
  new RegExp(`^[0-9a-f]{8}-?[0-9a-f]{4}-?${version}[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}$`, 'i');
/** k8s.io/apimachinery's quantity: a number with an optional decimal or binary suffix. */
export const quantityPattern = /^[+-]?(\d+\.?\d*|\.\d+)(([KMGTPE]i)|[numkMGTPE]|[eE][+-]?\d+)?$/;

export function isCidr(text: string): boolean {
  const match = /^(.+)\/(\d{1,3})$/.exec(text);
  if (!match?.[1] || !match[2]) return false;
  const family = isIP(match[1]);
  return family !== 0 && Number(match[2]) <= (family === 4 ? 32 : 128);
}

/**
 * The formats that Kubernetes checks; any other name is ignored, as there. The names and their meaning
 * are those of k8s.io/kube-openapi/pkg/validation/strfmt; int32 and int64 limit the range.
 */
export const kubernetesFormats: Readonly<Record<string, Format>> = {
  'date-time': fullFormats['date-time'],
  datetime: fullFormats['date-time'],
  date: fullFormats.date,
  duration: goDuration,
  email: fullFormats.email,
  hostname: fullFormats.hostname,
  ipv4: (text: string) => isIP(text) === 4,
  ipv6: (text: string) => isIP(text) === 6,
  cidr: isCidr,
  uri: fullFormats.uri,
  byte: fullFormats.byte,
  mac,
  hexcolor: hexColor,
  quantity: quantityPattern,
  uuid: uuidOf('[0-9a-f]'),
  uuid3: uuidOf('3'),
  uuid4: uuidOf('4'),
  uuid5: uuidOf('5'),
  password: true,
  int32: {
    type: 'number',
    validate: (n: number) => Number.isInteger(n) && n >= -(2 ** 31) && n < 2 ** 31,
  },
  int64: {
    type: 'number',
    // JSON numbers beyond 2^53 lose digits on the way in; the range is all that can be told.
    validate: (n: number) => Number.isInteger(n) && n >= -(2 ** 63) && n < 2 ** 63,
  },
};
