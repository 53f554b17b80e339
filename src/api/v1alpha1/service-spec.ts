import { z } from 'zod';
import { byteSizePattern } from './byte-size.ts';
import { cpuQuantityPattern } from './cpu-quantity.ts';
import { durationPattern } from './duration.ts';
import { linkStringPattern } from './link-string.ts';
import { portStringPattern } from './port-string.ts';
import { rule, type SchemaExtensions } from './schema-extensions.ts';
import { volumeStringPattern } from './volume-string.ts';

/**
 * What a user says about one service of an application: compose's words in camelCase, with compose's
 * short strings. The same schema serves Project.spec.services.* and Service.spec.
 * Descriptions are what `kubectl explain` prints: they teach the format by example.
 *
 * Every list, map and string has a bound. The API server refuses CEL rules whose worst case costs more than 10 million
 * (apiserver's StaticEstimatedCostLimit): a regular expression costs 0.1 × bytes (4 for each character of maxLength)
 * × 0.25 × length of the pattern, times the items of all lists and maps around it. At 100 services, volumes come to 5 million.
 * On an int-or-string it takes no notice of maxLength and estimates the largest request there can be: no rule with a
 * regular expression is affordable there, so those carry a `pattern`, whose message only repeats it.
 */

/** Marks a schema that takes an integer or a string (`x-kubernetes-int-or-string` in the CRD). */
const intOrString = (description: string, extensions: SchemaExtensions = {}) =>
  z.union([z.int(), z.string()]).meta({ description, intOrString: true, ...extensions });

const text = (maxLength: number) => z.string().max(maxLength);

export const restartPolicy = z.enum(['always', 'no']);
export const pullPolicy = z.enum(['always', 'missing', 'never']);
export const placementStrategy = z.enum(['spread', 'binpack', 'random']);

const cpus = (what: string) =>
  intOrString(`${what} "0.5" (in quotes) is half of one processor, 2 are two, "250m" a quarter.`, {
    pattern: cpuQuantityPattern,
    maxLength: 20,
    minimum: 0,
  }).optional();

const memory = (what: string) =>
  intOrString(
    `${what} Bytes, or with a unit as in compose: "64M", "1.5G", "512k"; units are powers of 1024.`,
    { pattern: byteSizePattern, maxLength: 20, minimum: 0 },
  ).optional();

export const resources = z.object({
  reservations: z
    .object({
      cpus: cpus('Processors set aside.'),
      memory: memory(
        'Memory set aside; the container is pushed back to it when the host runs short.',
      ),
    })
    .meta({
      description:
        'Set aside on the host: an instance is only placed where this much is not reserved yet. ' +
        'Example: {cpus: "0.25", memory: 128M}.',
    })
    .optional(),
  limits: z
    .object({
      cpus: cpus('Most processor time.'),
      memory: memory('Most memory; the container is killed when it takes more. At least 6M.'),
      pids: z
        .int()
        .min(1)
        .max(4_194_304)
        .meta({ description: 'Most processes and threads in the container.' })
        .optional(),
    })
    .meta({
      description:
        'What the engine lets an instance use at most. Example: {cpus: "1.5", memory: 512M, pids: 200}.',
    })
    .optional(),
});

export const placement = z.object({
  strategy: placementStrategy.default('spread').meta({
    description:
      'Which of the fitting hosts is taken. spread: the one with the fewest instances of this service, then the ' +
      'fewest of all; binpack: the fullest that still fits; random: any.',
  }),
  machineMetadata: z
    .record(z.string(), text(1024))
    .meta({
      description:
        'Only hosts with all of these labels. A comma separates values of which one must match: ' +
        '{region: "us-east-1,us-west-2", disk: ssd}. Labels are the Host object\'s, else the agent\'s --metadata.',
      maxProperties: 64,
    })
    .optional(),
  machineID: text(253)
    .min(1)
    .meta({
      description:
        'Only the host with this machine ID, or with an ID that begins so if no other does, or of this name.',
    })
    .optional(),
});

export const serviceSpec = z.object({
  image: text(512)
    .min(1)
    .meta({
      description:
        'Image reference, as for docker run: "redis:7", "registry.example.com:5000/team/app:1.4.2", "app@sha256:…".',
      'x-kubernetes-validations': [
        rule(
          "self.matches('^[^ \\\\t\\\\r\\\\n]+$')",
          'an image reference has no spaces: use e.g. redis:7 or registry.example.com/team/app:1.4.2',
        ),
      ],
    }),
  command: z
    .array(text(65_536))
    .max(1024)
    .meta({
      description: 'Arguments in place of the image\'s CMD: [redis-server, --appendonly, "yes"].',
      'x-kubernetes-list-type': 'atomic',
    })
    .optional(),
  entrypoint: z
    .array(text(65_536))
    .max(1024)
    .meta({
      description: 'Program in place of the image\'s ENTRYPOINT: ["/bin/sh", "-c"].',
      'x-kubernetes-list-type': 'atomic',
    })
    .optional(),
  environment: z
    .record(z.string(), intOrString('Value of the variable.', { maxLength: 65_536 }))
    .meta({
      description:
        'Environment variables: {LOG_LEVEL: debug, WORKERS: 4}. Write true, false and fractions in quotes.',
      maxProperties: 1024,
      'x-kubernetes-validations': [
        rule(
          "self.all(name, name != '' && !name.contains('='))",
          'a variable needs a name without "=": write {NAME: value}, not {"NAME=value": ""}',
        ),
      ],
    })
    .optional(),
  ports: z
    .array(
      intOrString('[[HOST_IP:]HOST_PORT:]CONTAINER_PORT[/tcp|udp|sctp], e.g. "8080:80".', {
        pattern: portStringPattern,
        maxLength: 80,
        minimum: 1,
        maximum: 65_535,
      }),
    )
    .max(100)
    .meta({
      description:
        'Ports: "8080:80" publishes port 80 of the container on port 8080 of its host; "127.0.0.1:53:53/udp" on one ' +
        'address; "3000-3002:3000-3002" a range; a bare "6379" is reachable by other services only. Two instances that ' +
        'publish the same host port never share a host.',
      'x-kubernetes-list-type': 'atomic',
    })
    .optional(),
  links: z
    .array(
      text(127).meta({
        description: 'SERVICE[:ALIAS], e.g. "redis-master:db".',
        'x-kubernetes-validations': [
          rule(
            `self.matches('${linkStringPattern}')`,
            'a link is SERVICE or SERVICE:ALIAS, both of lower-case letters, digits and "-", e.g. redis-master:db',
          ),
        ],
      }),
    )
    .max(32)
    .meta({
      description:
        'Other services of the project under further names: "redis-master:db" lets this service reach redis-master as ' +
        'db. Services find each other under their own names without links.',
      'x-kubernetes-list-type': 'atomic',
    })
    .optional(),
  volumes: z
    .array(
      text(255).meta({
        description: 'NAME:/TARGET[:ro] or /HOST_PATH:/TARGET[:ro], e.g. "data:/var/lib/data".',
        'x-kubernetes-validations': [
          rule(
            `self.matches('${volumeStringPattern}')`,
            'a volume is NAME:/TARGET or /HOST_PATH:/TARGET, with :ro behind it if only to be read, e.g. ' +
              'data:/var/lib/data or /srv/conf:/etc/app:ro',
          ),
        ],
      }),
    )
    .max(32)
    .meta({
      description:
        'Mounts: "data:/var/lib/x" a named volume of the project on the instance\'s host (instances on one host share ' +
        'it; it outlives the project, and does not follow an instance to another host); "/srv/x:/etc/x:ro" a path of the host.',
      'x-kubernetes-list-type': 'atomic',
    })
    .optional(),
  replicas: z.int().min(0).max(100_000).default(1).meta({
    description: 'How many instances run. `kubectl scale` changes it on the Service object.',
    format: 'int32',
  }),
  restart: restartPolicy.default('always').meta({
    description:
      'What to do when the container exits: always starts it again (with growing pauses); "no" leaves it. ' +
      'Write "no" in quotes: a bare no is false in YAML.',
  }),
  labels: z
    .record(z.string(), text(65_536))
    .meta({
      description:
        'Labels of the containers: {com.example.team: web}. Keys under nap.dev/ are taken.',
      maxProperties: 256,
      'x-kubernetes-validations': [
        rule(
          "self.all(key, key != '' && !key.startsWith('nap.dev/'))",
          'keys may not be empty or begin with nap.dev/, which nap uses itself: take a prefix of your own, e.g. example.com/',
        ),
      ],
    })
    .optional(),
  user: text(128)
    .min(1)
    .meta({
      description: 'User (and group) to run as, names or numbers: "1000:1000", "www-data".',
      'x-kubernetes-validations': [
        rule(
          "self.matches('^[^: ]+(:[^: ]+)?$')",
          'a user is USER or USER:GROUP, names or numbers, e.g. 1000:1000 or www-data',
        ),
      ],
    })
    .optional(),
  workingDir: text(4096)
    .meta({
      description: 'Working directory in the container, absolute: "/srv/app".',
      'x-kubernetes-validations': [
        rule("self.startsWith('/')", 'a working directory is an absolute path, e.g. /srv/app'),
      ],
    })
    .optional(),
  hostname: text(63)
    .min(1)
    .meta({
      description:
        'Hostname in the container. Default: the name of the instance, e.g. guestbook-web-1.',
      'x-kubernetes-validations': [
        rule(
          `self.matches('${hostnamePattern()}')`,
          'a hostname is made of letters, digits, "-" and ".", e.g. db1.example.com',
        ),
      ],
    })
    .optional(),
  pullPolicy: pullPolicy.default('missing').meta({
    description:
      'When to pull the image: missing when the host has none, always before each creation, or never.',
  }),
  stopSignal: text(20)
    .meta({
      description:
        'Signal that asks the container to stop: "SIGQUIT". Default: what the image says, else SIGTERM.',
      'x-kubernetes-validations': [
        rule(
          `self.matches('${stopSignalPattern()}')`,
          'a signal is a name or a number, e.g. SIGQUIT, SIGRTMIN+3 or "3"',
        ),
      ],
    })
    .optional(),
  stopGracePeriod: text(40)
    .default('10s')
    .meta({
      description: 'How long it may take to stop before it is killed: "30s", "1m30s", "500ms".',
      'x-kubernetes-validations': [
        rule(
          `self.matches('${durationPattern.replaceAll('\\', '\\\\')}')`,
          'a duration is made of numbers with units h, m, s or ms, e.g. 30s or 1m30s',
        ),
      ],
    }),
  resources: resources
    .meta({ description: 'What an instance is promised and what it may use at most.' })
    .optional(),
  placement: placement
    .meta({
      description: 'Which hosts may run it, e.g. {strategy: spread, machineMetadata: {disk: ssd}}.',
    })
    .optional(),
});
/** As the user wrote it: fields with defaults may be absent. */
export type ServiceSpecInput = z.input<typeof serviceSpec>;
/** With the defaults filled in. */
export type ServiceSpec = z.output<typeof serviceSpec>;

/** Labels of letters, digits and "-" joined by dots (RFC 1123; upper case is legal in a hostname). */
function hostnamePattern(): string {
  const label = '[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?';
  return `^${label}([.]${label})*$`;
}

/** What Docker takes: a name with or without SIG, a real-time signal with an offset, or a number. */
function stopSignalPattern(): string {
  return '^((SIG)?[A-Z][A-Z0-9]*([+-][0-9]{1,2})?|[0-9]{1,2})$';
}
