import { z } from 'zod';
import { changeAction, configTarget, fileOwner } from './config-mount.ts';
import { maxTemplateBytes } from './template-text.ts';
import { rule } from './schema-extensions.ts';

/** Shape of `[PROJECT/]SERVICE[:NAME]`, for the CRD. */
const label = '[a-z0-9]([-a-z0-9]*[a-z0-9])?';
export const watchPattern = `^(${label}/)?${label}(:${label})?$`;

/** Service.spec.templates[]: a file whose content follows the instances of services. */
export const templateSpec = z
  .object({
    source: z
      .string()
      .min(1)
      .max(253)
      .meta({
        description: "Name of an entry of the Project's spec.configs; not one from a Secret.",
      })
      .optional(),
    content: z
      .string()
      .max(maxTemplateBytes)
      .meta({ description: 'The template itself.' })
      .optional(),
    configMap: z
      .object({
        name: z.string().min(1).max(253).meta({ description: 'Name of the ConfigMap.' }),
        key: z.string().min(1).max(253).meta({ description: 'Key in the ConfigMap.' }),
      })
      .meta({ description: 'A ConfigMap of the namespace: {name: nginx, key: upstreams}.' })
      .optional(),
    target: configTarget(
      'Absolute path of the file in the container: "/etc/nginx/upstreams.conf". In a named volume of the service it is a ' +
        'file of that volume, which others that mount it read, too, and changes by renaming; elsewhere it is a file of this ' +
        'container alone, overwritten in place. Not in a path of the host.',
    ),
    ...fileOwner('Permissions, octal, in quotes. Default "0444".'),
    watch: z
      .array(
        z.string().max(191).meta({
          description: '[PROJECT/]SERVICE[:NAME], e.g. "web:backends".',
          pattern: watchPattern,
        }),
      )
      .min(1)
      .max(16)
      .meta({
        description:
          'The services whose ready instances the template sees, as services.NAME: "web" of this project, "shop/web:shop" of ' +
          'another one of the namespace.',
        'x-kubernetes-list-type': 'atomic',
      }),
    waitFor: z
      .int()
      .min(0)
      .max(100_000)
      .meta({
        description:
          'Ready instances that each watched service must have before the container is first started. Default 0. Later, the ' +
          'file has what there is.',
      })
      .optional(),
    check: z
      .array(z.string().max(4096))
      .min(1)
      .max(64)
      .meta({
        description:
          "Command that judges a new content before anybody sees it: [nginx, -t]. It runs in a container of its own, made as the service's " +
          'are, in which the new content already stands at "target", for at most 30 s. If it fails, the last good file stays.',
        'x-kubernetes-list-type': 'atomic',
      })
      .optional(),
    reload: z
      .object({
        ...changeAction,
        service: z
          .string()
          .min(1)
          .max(63)
          .meta({
            description:
              'Another service of the project, whose instances on this host are told. Default: this instance.',
          })
          .optional(),
      })
      .meta({
        description:
          'What to do when the file has changed: {signal: SIGHUP} or {command: [nginx, -s, reload]}. Default: nothing.',
        'x-kubernetes-validations': [
          rule('has(self.signal) != has(self.command)', 'say either signal or command'),
        ],
      })
      .optional(),
  })
  .meta({
    description:
      'A file that follows services: {content: "{% for i in services.web.instances %}server {{ i.address }}:{{ i.port }};\\n{% ' +
      'endfor %}", target: /data/upstreams.conf, watch: [web], check: [nginx, -t], reload: {signal: SIGHUP}}.',
    'x-kubernetes-validations': [
      rule(
        '[has(self.source), has(self.content), has(self.configMap)].filter(x, x).size() == 1',
        "a template has exactly one of source (an entry of the Project's configs), content and configMap",
      ),
    ],
  });
export type TemplateSpec = z.output<typeof templateSpec>;

/** A service that a template sees. */
export interface Watched {
  /** Absent: the project of the service that has the template. */
  readonly project?: string;
  readonly service: string;
  /** What the template calls it. */
  readonly alias: string;
}

/** Reads `[PROJECT/]SERVICE[:NAME]`, which has that form. */
export function parseWatch(text: string): Watched {
  const slash = text.indexOf('/');
  const [service = '', alias = service] = text.slice(slash + 1).split(':');
  return { ...(slash < 0 ? {} : { project: text.slice(0, slash) }), service, alias };
}

/** A template as it goes to a host: text looked up, strings read. */
export const deliveredTemplate = z.object({
  text: z.string(),
  target: z.string(),
  mode: z.int(),
  uid: z.int(),
  gid: z.int(),
  watch: z.array(
    z.object({ project: z.string().optional(), service: z.string(), alias: z.string() }),
  ),
  waitFor: z.int(),
  check: z.array(z.string()).optional(),
  reload: z
    .object({
      signal: z.string().optional(),
      command: z.array(z.string()).optional(),
      service: z.string().optional(),
    })
    .optional(),
});
export type DeliveredTemplate = z.infer<typeof deliveredTemplate>;
