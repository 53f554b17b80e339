import { notAcceptable } from '../errors/api-error.ts';

/** The form in which a client wants objects. */
export type ObjectForm = 'object' | 'table' | 'partial';

export interface Accepted {
  readonly form: ObjectForm;
  readonly encoding: 'json' | 'yaml';
  /** Version of meta.k8s.io for tables and partial objects. */
  readonly metaVersion: 'v1' | 'v1beta1';
}

const supported = ['application/json', 'application/yaml'];

export interface MediaType {
  readonly type: string;
  readonly parameters: ReadonlyMap<string, string>;
}

/** Splits an Accept header. Malformed parts are left out. */
export function parseMediaTypes(header: string): MediaType[] {
  return header
    .split(',')
    .map((part) => {
      const [type = '', ...rest] = part.split(';').map((word) => word.trim());
      const parameters = new Map<string, string>();
      for (const word of rest) {
        const at = word.indexOf('=');
        if (at > 0) parameters.set(word.slice(0, at).toLowerCase(), word.slice(at + 1));
      }
      return { type: type.toLowerCase(), parameters };
    })
    .filter(({ type }) => type.includes('/'));
}

/** The first form in the Accept header that this server can give; 406 when there is none. */
export function negotiate(header: string | undefined): Accepted {
  const wanted = parseMediaTypes(header ?? '');
  if (wanted.length === 0) return { form: 'object', encoding: 'json', metaVersion: 'v1' };
  for (const { type, parameters } of wanted) {
    const encoding = encodingOf(type);
    if (encoding === undefined) continue;
    const as = parameters.get('as');
    const version = parameters.get('v') ?? 'v1';
    if (as === undefined) return { form: 'object', encoding, metaVersion: 'v1' };
    if ((parameters.get('g') ?? 'meta.k8s.io') !== 'meta.k8s.io') continue;
    if (version !== 'v1' && version !== 'v1beta1') continue;
    if (as === 'Table') return { form: 'table', encoding, metaVersion: version };
    if (as === 'PartialObjectMetadata' || as === 'PartialObjectMetadataList') {
      return { form: 'partial', encoding, metaVersion: version };
    }
  }
  throw notAcceptable(supported);
}

function encodingOf(type: string): 'json' | 'yaml' | undefined {
  if (type === 'application/json' || type === '*/*' || type === 'application/*') return 'json';
  if (type === 'application/yaml' || type === 'application/x-yaml') return 'yaml';
  return undefined;
}
