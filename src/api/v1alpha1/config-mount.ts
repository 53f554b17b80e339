import { z } from 'zod';
import { rule } from './schema-extensions.ts';

/** Most bytes of one inline config, and of all configs and variables from Secrets of one service together. */
export const maxContentBytes = 384 * 1024;

const objectName = z
  .string()
  .min(1)
  .max(253)
  .meta({ description: 'Name of the object, in the same namespace.' });

const keyOf = (kind: string) =>
  z.object({
    name: objectName,
    key: z
      .string()
      .min(1)
      .max(253)
      .meta({
        description: `Key in the ${kind}. Default: all of them, each as a file of that name in the directory "target".`,
      })
      .optional(),
  });

/** Where a config's content comes from: one of these. */
const contentSource = {
  content: z
    .string()
    .max(maxContentBytes)
    .meta({ description: 'The content itself: "listen 80;\\n".' })
    .optional(),
  configMap: keyOf('ConfigMap')
    .meta({ description: 'A ConfigMap of the namespace: {name: nginx, key: nginx.conf}.' })
    .optional(),
  secret: keyOf('Secret')
    .meta({ description: 'A Secret of the namespace: {name: tls, key: tls.key}.' })
    .optional(),
};

/** Project.spec.configs.<name> */
export const configDefinition = z.object(contentSource).meta({
  description: 'Where the content comes from: content, configMap or secret.',
  'x-kubernetes-validations': [
    rule(
      '[has(self.content), has(self.configMap), has(self.secret)].filter(x, x).size() == 1',
      'a config has exactly one of content, configMap and secret',
    ),
  ],
});

/** What is done in a container that runs when the content of one of its files changes. */
export const changeAction = {
  signal: z
    .string()
    .max(20)
    .meta({ description: 'Signal to the container\'s first process: "SIGHUP".' })
    .optional(),
  command: z
    .array(z.string().max(4096))
    .min(1)
    .max(64)
    .meta({
      description: 'Command run in the container: [nginx, -s, reload].',
      'x-kubernetes-list-type': 'atomic',
    })
    .optional(),
};

const onChange = z.object(changeAction).meta({
  description:
    'What to do when the content changes: {signal: SIGHUP} or {command: [nginx, -s, reload]} after the file was written ' +
    'anew in place. Default: the instances are replaced one after the other, as for any change of the spec.',
  'x-kubernetes-validations': [
    rule(
      'has(self.signal) != has(self.command)',
      'say either signal or command; leave onChange out to have instances replaced',
    ),
  ],
});

/** Where a file stands in the container. */
export const configTarget = (description: string) =>
  z
    .string()
    .max(4096)
    .meta({
      description,
      'x-kubernetes-validations': [
        rule("self.startsWith('/')", 'a target is an absolute path, e.g. /etc/app.conf'),
      ],
    });

/** Whose a file is, and who may read it. */
export const fileOwner = (modeDescription: string) => ({
  mode: z
    .string()
    .max(4)
    .meta({
      description: modeDescription,
      'x-kubernetes-validations': [
        rule("self.matches('^0?[0-7]{3}$')", 'a mode is octal, e.g. "0440"'),
      ],
    })
    .optional(),
  uid: z
    .int()
    .min(0)
    .max(4_294_967_294)
    .meta({ description: 'Owner of the file, as a number. Default 0.' })
    .optional(),
  gid: z
    .int()
    .min(0)
    .max(4_294_967_294)
    .meta({ description: 'Group of the file, as a number. Default 0.' })
    .optional(),
});

/** Service.spec.configs[]: a file in the container. */
export const configMount = z
  .object({
    source: z
      .string()
      .min(1)
      .max(253)
      .meta({ description: "Name of an entry of the Project's spec.configs." })
      .optional(),
    ...contentSource,
    target: configTarget(
      'Absolute path of the file in the container: "/etc/nginx/nginx.conf"; for all keys of a ConfigMap or Secret, of ' +
        'the directory that they go into.',
    ),
    ...fileOwner('Permissions, octal, in quotes. Default "0444", from a Secret "0400".'),
    onChange: onChange.optional(),
  })
  .meta({
    description: 'A file in the container: {source: app, target: /etc/app.conf, mode: "0440"}.',
    'x-kubernetes-validations': [
      rule(
        '[has(self.source), has(self.content), has(self.configMap), has(self.secret)].filter(x, x).size() == 1',
        "a config has exactly one of source (an entry of the Project's configs), content, configMap and secret",
      ),
    ],
  });
export type ConfigMount = z.output<typeof configMount>;

/** Service.spec.envFrom[]: all keys of a ConfigMap or Secret as environment variables. */
export const envFromSource = z
  .object({
    configMap: z.string().min(1).max(253).meta({ description: 'Name of a ConfigMap.' }).optional(),
    secret: z
      .string()
      .min(1)
      .max(253)
      .meta({
        description:
          'Name of a Secret. The values are kept out of the registry, but an environment can be read with docker inspect ' +
          "on the instance's host and by every process of the container: prefer a file (configs).",
      })
      .optional(),
    prefix: z.string().max(128).meta({ description: 'Put before each key: "APP_".' }).optional(),
  })
  .meta({
    description: 'All keys of a ConfigMap or a Secret: {configMap: app-settings}.',
    'x-kubernetes-validations': [
      rule('has(self.configMap) != has(self.secret)', 'name either a configMap or a secret'),
    ],
  });
