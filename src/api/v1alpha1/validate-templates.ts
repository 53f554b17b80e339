import { attempt } from './attempt.ts';
import { cleanPath } from './clean-path.ts';
import type { FieldError } from './field-error.ts';
import type { ProjectSpec } from './project.ts';
import type { ServiceSpec } from './service-spec.ts';
import { isSignal } from './signals.ts';
import { parseWatch, watchPattern, type TemplateSpec } from './template-spec.ts';
import { maxTemplateBytes, parseTemplate, TemplateError } from './template-text.ts';
import { parseTmpfs } from './tmpfs-string.ts';
import type { VolumeDefinition } from './volume-definition.ts';
import { parseVolume, type VolumeMount } from './volume-string.ts';

type At = (...segments: PropertyKey[]) => string;
type Fail = (field: string, value: unknown, message: string) => void;

/** What is wrong with the templates of a service. What they name is checked where `siblings` are known. `take` claims a place in the container. */
export function validateTemplates(
  spec: ServiceSpec,
  at: At,
  errors: FieldError[],
  take: (target: string, path: string, value: string) => void,
  siblings: readonly string[] | undefined,
): void {
  for (const [index, template] of (spec.templates ?? []).entries()) {
    const fail: Fail = (field, value, message) => {
      errors.push({ path: at('templates', index, field), value, message, severity: 'error' });
    };
    validateText(template, siblings !== undefined, fail);
    const target = cleanPath(template.target);
    if (target === undefined) {
      fail(
        'target',
        template.target,
        'a target is an absolute path without "..", e.g. /etc/app.conf',
      );
    } else {
      take(target, at('templates', index, 'target'), template.target);
      validatePlace(spec, target, fail);
    }
    if (template.mode !== undefined && !/^0?[0-7]{3}$/.test(template.mode)) {
      fail('mode', template.mode, 'a mode is octal, e.g. "0440"');
    }
    validateWatch(template, siblings, fail);
    validateReload(template, siblings, fail);
  }
}

function validateText(template: TemplateSpec, inProject: boolean, fail: Fail): void {
  const { source, content, configMap } = template;
  if ([source, content, configMap].filter((value) => value !== undefined).length !== 1) {
    fail(
      'source',
      source,
      "a template has exactly one of source (an entry of the Project's configs), content and configMap",
    );
  }
  if (source !== undefined && !inProject) {
    fail('source', source, 'names a config of a Project: use content or configMap here');
  }
  if (content !== undefined)
    checkText(content, (message) => {
      fail('content', undefined, message);
    });
}

function checkText(text: string, fail: (message: string) => void): void {
  if (Buffer.byteLength(text) > maxTemplateBytes) {
    fail(`a template has at most ${String(maxTemplateBytes)} bytes`);
    return;
  }
  try {
    parseTemplate(text);
  } catch (error) {
    if (!(error instanceof TemplateError)) throw error;
    fail(`not a template in the Liquid language: ${error.message}`);
  }
}

/** A file that the agent writes lies in the container alone, or in a named volume as the engine makes them. */
function validatePlace(spec: ServiceSpec, target: string, fail: Fail): void {
  const within = (directory: string): boolean =>
    target.startsWith(`${directory.replace(/\/+$/, '')}/`);
  // What cannot be read has been said already.
  for (const text of spec.tmpfs ?? []) {
    const mount = attempt([], '', text, () => parseTmpfs(text));
    if (mount !== undefined && within(mount.target)) {
      fail('target', target, `lies in ${JSON.stringify(text)}, which is empty at each start`);
    }
  }
  const mounts = (spec.volumes ?? [])
    .flatMap((text) => attempt([], '', text, () => parseVolume(text)) ?? [])
    .filter((mount) => within(mount.target))
    .sort((a, b) => b.target.length - a.target.length);
  const [mount] = mounts;
  if (mount !== undefined) {
    const why = unwritable(mount, spec.volumeDefinitions?.[mount.source]);
    if (why !== undefined) fail('target', target, why);
  }
}

function unwritable(
  mount: VolumeMount,
  definition: VolumeDefinition | undefined,
): string | undefined {
  if (mount.type === 'bind') {
    return `lies in ${mount.source} of the host: use a named volume, or a place that nothing is mounted at`;
  }
  if (mount.readOnly) return `lies in the volume ${mount.source}, which is mounted to be read only`;
  if (definition?.driver !== undefined || definition?.driverOpts !== undefined) {
    return `lies in the volume ${mount.source}, which a driver makes: only plain volumes can be written by the agent`;
  }
  return undefined;
}

function validateWatch(
  { watch }: TemplateSpec,
  siblings: readonly string[] | undefined,
  fail: Fail,
): void {
  const aliases = new Set<string>();
  for (const text of watch) {
    if (!new RegExp(watchPattern).test(text)) {
      fail('watch', text, 'name a service as SERVICE[:NAME] or PROJECT/SERVICE[:NAME], e.g. "web"');
      continue;
    }
    const { project, service, alias } = parseWatch(text);
    if (project === undefined && siblings?.includes(service) === false) {
      fail('watch', text, `there is no service ${JSON.stringify(service)} in this project`);
    }
    if (aliases.has(alias)) {
      fail('watch', text, `the name ${JSON.stringify(alias)} is given twice: "${text}:another"`);
    }
    aliases.add(alias);
  }
}

function validateReload(
  { reload }: TemplateSpec,
  siblings: readonly string[] | undefined,
  fail: Fail,
): void {
  if (reload === undefined) return;
  const { signal, command, service } = reload;
  if ((signal === undefined) === (command === undefined)) {
    fail('reload', reload, 'say either signal or command');
  }
  if (signal !== undefined && !isSignal(signal)) {
    fail('reload', signal, 'not a signal of Linux: use e.g. "SIGHUP"');
  }
  if (service !== undefined && siblings?.includes(service) === false) {
    fail('reload', service, `there is no service ${JSON.stringify(service)} in this project`);
  }
}

/** What the templates of a Project's services take from the rest of it. */
export function validateProjectTemplates(spec: ProjectSpec, at: At, errors: FieldError[]): void {
  for (const [service, { templates, volumes }] of Object.entries(spec.services)) {
    for (const [index, { source, target }] of (templates ?? []).entries()) {
      const fail: Fail = (field, value, message) => {
        const path = at('services', service, 'templates', index, field);
        errors.push({ path, value, message, severity: 'error' });
      };
      const mounts = { volumes, volumeDefinitions: spec.volumes } as ServiceSpec;
      if (spec.volumes !== undefined) validatePlace(mounts, target, fail);
      if (source === undefined) continue;
      const config = spec.configs?.[source];
      if (config === undefined) {
        const name = JSON.stringify(source);
        fail(
          'source',
          source,
          `there is no config ${name} in this project: define it under spec.configs`,
        );
      } else if (config.secret !== undefined) {
        fail('source', source, 'is a Secret: templates are not kept secret');
      } else if (config.configMap !== undefined && config.configMap.key === undefined) {
        fail('source', source, 'is a whole ConfigMap: a template is one key of it');
      } else if (config.content !== undefined) {
        checkText(config.content, (message) => {
          fail('source', source, message);
        });
      }
    }
  }
}
