import { createHash, createHmac } from 'node:crypto';
import { canonicalJson } from '../json.ts';
import { cleanPath } from './clean-path.ts';
import type { ConfigMount } from './config-mount.ts';
import { maxContentBytes } from './config-mount.ts';
import type { ConfigFile, ContainerSpec } from './container-spec.ts';
import { acmeSecretName } from './route.ts';
import type { ServiceSpec } from './service-spec.ts';
import { parseWatch, type DeliveredTemplate, type TemplateSpec } from './template-spec.ts';
import { maxTemplateBytes, parseTemplate, TemplateError } from './template-text.ts';

/** Names a ConfigMap or Secret of the service's namespace. */
export interface ContentRef {
  readonly kind: 'ConfigMap' | 'Secret';
  readonly name: string;
}

/** What is known of a ConfigMap or Secret. */
export type FoundContent =
  | {
      readonly type: 'found';
      readonly uid: string;
      /** By key. */
      readonly data: ReadonlyMap<string, Uint8Array>;
      readonly annotations?: Readonly<Record<string, string>>;
    }
  | { readonly type: 'missing' }
  /** Not to be told (yet): not read, or not to be read for the reason given. */
  | { readonly type: 'unknown'; readonly why: string };

/** Contents as they go to a host. `files` in the order of the container spec's. */
export interface ContentBundle {
  /** Stands for all of it: equal bundles have equal hashes. */
  readonly hash: string;
  readonly files: readonly Uint8Array[];
  readonly environment: Readonly<Record<string, string>>;
  /** In the order of the container spec's. Absent: none. */
  readonly templates?: readonly DeliveredTemplate[];
}

/** What a container gets from configs. */
export interface ResolvedContent {
  readonly container: Pick<ContainerSpec, 'files' | 'templates' | 'sealedEnvironment'>;
  /** From ConfigMaps: not secret, and part of the container spec. Explicit variables go before them. */
  readonly environment: Readonly<Record<string, string>>;
  /** Absent when nothing is to be delivered. */
  readonly bundle?: ContentBundle;
}

export type ContentOutcome =
  | { readonly type: 'ok'; readonly content: ResolvedContent }
  | { readonly type: 'blocked'; readonly reason: BlockReason; readonly message: string };

/** Why a service cannot have its contents. */
export type BlockReason = 'ConfigMissing' | 'ConfigUnreadable' | 'ConfigInvalid';

/** The ConfigMaps and Secrets that a service names, each once. */
export function contentRefs(
  spec: Pick<ServiceSpec, 'configs' | 'envFrom' | 'routes' | 'templates'>,
): ContentRef[] {
  const refs = new Map<string, ContentRef>();
  const add = (kind: ContentRef['kind'], name: string | undefined): void => {
    if (name !== undefined) refs.set(`${kind}/${name}`, { kind, name });
  };
  for (const config of spec.configs ?? []) {
    add('ConfigMap', config.configMap?.name);
    add('Secret', config.secret?.name);
  }
  for (const template of spec.templates ?? []) add('ConfigMap', template.configMap?.name);
  for (const source of spec.envFrom ?? []) {
    add('ConfigMap', source.configMap);
    add('Secret', source.secret);
  }
  for (const { host, tls, basicAuth } of spec.routes ?? []) {
    add('Secret', tls?.secret);
    if (tls?.acme !== undefined) add('Secret', acmeSecretName(host));
    add('Secret', basicAuth?.secret);
  }
  return [...refs.values()];
}

/**
 * Looks up all contents that a service names. Pure.
 *
 * The hash of what comes from a Secret is keyed with the Secret's uid, a random number that only its API server tells:
 * whoever reads hashes in the registry cannot try out likely passwords against them. (So a Secret that is deleted and
 * made anew counts as changed.)
 */
export function resolveContent(
  spec: Pick<ServiceSpec, 'configs' | 'envFrom' | 'environment' | 'templates'>,
  lookup: (ref: ContentRef) => FoundContent,
): ContentOutcome {
  try {
    return { type: 'ok', content: resolve(spec, lookup) };
  } catch (error) {
    if (!(error instanceof Blocked)) throw error;
    return { type: 'blocked', reason: error.reason, message: error.message };
  }
}

class Blocked extends Error {
  readonly reason: BlockReason;
  constructor(reason: BlockReason, message: string) {
    super(message);
    this.reason = reason;
  }
}

type Lookup = (ref: ContentRef) => FoundContent;

function resolve(
  spec: Pick<ServiceSpec, 'configs' | 'envFrom' | 'environment' | 'templates'>,
  lookup: Lookup,
): ResolvedContent {
  const files: ConfigFile[] = [];
  const contents: Uint8Array[] = [];
  const hashes: string[] = [];
  for (const config of spec.configs ?? []) {
    for (const { target, bytes, hash, secret } of filesOf(config, lookup)) {
      if (files.some((other) => other.target === target)) {
        throw new Blocked('ConfigInvalid', `two configs are to be ${target}`);
      }
      files.push({
        target,
        mode: Number.parseInt(config.mode ?? (secret ? '400' : '444'), 8),
        uid: config.uid ?? 0,
        gid: config.gid ?? 0,
        ...(config.onChange === undefined ? { hash } : { onChange: defined(config.onChange) }),
      });
      contents.push(bytes);
      hashes.push(hash);
    }
  }
  const { open, sealed } = variables(spec, lookup);
  const templates = (spec.templates ?? []).map((template) => templateOf(template, lookup));
  const size =
    templates.reduce((sum, { text }) => sum + Buffer.byteLength(text), 0) +
    contents.reduce((sum, bytes) => sum + bytes.length, 0) +
    Object.values(sealed.values).reduce((sum, value) => sum + Buffer.byteLength(value), 0);
  if (size > maxContentBytes) {
    throw new Blocked(
      'ConfigInvalid',
      `the configs of this service have ${String(size)} bytes together: at most ${String(maxContentBytes)} are possible`,
    );
  }
  const names = Object.keys(sealed.values).sort();
  const hash = sha256(
    canonicalJson({
      hashes,
      environment: sealed.hash,
      ...(templates.length === 0 ? {} : { templates }),
    }),
  );
  return {
    container: {
      ...(files.length === 0 ? {} : { files }),
      ...(templates.length === 0 ? {} : { templates: templates.map(({ target }) => ({ target })) }),
      ...(names.length === 0 ? {} : { sealedEnvironment: { names, hash: sealed.hash } }),
    },
    environment: open,
    ...(files.length + names.length + templates.length === 0
      ? {}
      : {
          bundle: {
            hash,
            files: contents,
            environment: sealed.values,
            ...(templates.length === 0 ? {} : { templates }),
          },
        }),
  };
}

function templateOf(template: TemplateSpec, lookup: Lookup): DeliveredTemplate {
  const { uid = 0, gid = 0, waitFor = 0, check, reload } = template;
  const target = cleanPath(template.target) ?? template.target;
  const text = templateText(template, lookup);
  if (Buffer.byteLength(text) > maxTemplateBytes) {
    const most = String(maxTemplateBytes);
    throw new Blocked('ConfigInvalid', `the template of ${target} has more than ${most} bytes`);
  }
  try {
    parseTemplate(text);
  } catch (error) {
    if (!(error instanceof TemplateError)) throw error;
    throw new Blocked('ConfigInvalid', `the template of ${target}: ${error.message}`);
  }
  return {
    text,
    target,
    mode: Number.parseInt(template.mode ?? '444', 8),
    uid,
    gid,
    watch: template.watch.map(parseWatch),
    waitFor,
    ...(check === undefined ? {} : { check }),
    ...(reload === undefined
      ? {}
      : {
          reload: {
            ...defined(reload),
            ...(reload.service === undefined ? {} : { service: reload.service }),
          },
        }),
  };
}

function templateText({ content, configMap, target }: TemplateSpec, lookup: Lookup): string {
  if (content !== undefined) return content;
  if (configMap === undefined) throw new Blocked('ConfigInvalid', `${target} has no source`);
  const bytes = look({ kind: 'ConfigMap', name: configMap.name }, lookup).data.get(configMap.key);
  if (bytes !== undefined) return Buffer.from(bytes).toString('utf8');
  const { name, key } = configMap;
  throw new Blocked('ConfigMissing', `ConfigMap ${name} has no key ${key}`);
}

interface FoundFile {
  readonly target: string;
  readonly bytes: Uint8Array;
  readonly hash: string;
  readonly secret: boolean;
}

function filesOf(config: ConfigMount, lookup: Lookup): FoundFile[] {
  if (config.content !== undefined) {
    const bytes = Buffer.from(config.content, 'utf8');
    return [{ target: config.target, bytes, hash: sha256(bytes), secret: false }];
  }
  const source = config.secret ?? config.configMap;
  if (source === undefined) throw new Blocked('ConfigInvalid', `${config.target} has no source`);
  const kind = config.secret === undefined ? 'ConfigMap' : 'Secret';
  const found = look({ kind, name: source.name }, lookup);
  const file = (target: string, bytes: Uint8Array): FoundFile => ({
    target,
    bytes,
    hash: hashOf(kind, found.uid, bytes),
    secret: kind === 'Secret',
  });
  if (source.key !== undefined) {
    const bytes = found.data.get(source.key);
    if (bytes === undefined) {
      throw new Blocked('ConfigMissing', `${kind} ${source.name} has no key ${source.key}`);
    }
    return [file(config.target, bytes)];
  }
  return [...found.data.keys()]
    .sort()
    .map((key) =>
      file(`${config.target.replace(/\/+$/, '')}/${key}`, found.data.get(key) ?? empty),
    );
}

const empty = new Uint8Array();

function variables(
  spec: Pick<ServiceSpec, 'envFrom' | 'environment'>,
  lookup: Lookup,
): { open: Record<string, string>; sealed: { values: Record<string, string>; hash: string } } {
  const merged = new Map<string, { value: string; secret: boolean; hash: string }>();
  for (const source of spec.envFrom ?? []) {
    const kind = source.secret === undefined ? 'ConfigMap' : 'Secret';
    const name = source.secret ?? source.configMap ?? '';
    const found = look({ kind, name }, lookup);
    for (const [key, bytes] of found.data) {
      const variable = `${source.prefix ?? ''}${key}`;
      const value = Buffer.from(bytes).toString('utf8');
      if (variable.includes('=') || value.includes('\0')) {
        throw new Blocked(
          'ConfigInvalid',
          `${kind} ${name}: the key ${key} cannot become an environment variable`,
        );
      }
      merged.set(variable, {
        value,
        secret: kind === 'Secret',
        hash: hashOf(kind, found.uid, bytes),
      });
    }
  }
  for (const name of Object.keys(spec.environment ?? {})) merged.delete(name);
  const open: Record<string, string> = {};
  const values: Record<string, string> = {};
  const hashes: Record<string, string> = {};
  for (const [name, variable] of [...merged].sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (!variable.secret) open[name] = variable.value;
    else {
      values[name] = variable.value;
      hashes[name] = variable.hash;
    }
  }
  return { open, sealed: { values, hash: sha256(canonicalJson(hashes)) } };
}

function look(ref: ContentRef, lookup: Lookup): Extract<FoundContent, { type: 'found' }> {
  const found = lookup(ref);
  if (found.type === 'found') return found;
  if (found.type === 'missing') {
    throw new Blocked('ConfigMissing', `there is no ${ref.kind} ${ref.name}`);
  }
  throw new Blocked('ConfigUnreadable', `${ref.kind} ${ref.name}: ${found.why}`);
}

/** Of one content; keyed when it comes from a Secret (see `resolveContent`). */
export function hashOf(kind: ContentRef['kind'], uid: string, bytes: Uint8Array): string {
  return kind === 'ConfigMap'
    ? sha256(bytes)
    : createHmac('sha256', `nap secret ${uid}`).update(bytes).digest('hex');
}

function sha256(data: string | Uint8Array): string {
  return createHash('sha256').update(data).digest('hex');
}

function defined(change: {
  readonly signal?: string | undefined;
  readonly command?: string[] | undefined;
}): NonNullable<ConfigFile['onChange']> {
  return {
    ...(change.signal === undefined ? {} : { signal: change.signal }),
    ...(change.command === undefined ? {} : { command: change.command }),
  };
}
