import { z } from 'zod';

/**
 * What a user says about one service of an application: compose's words in camelCase, with compose's
 * short strings. The same schema serves Project.spec.services.* and Service.spec.
 * Descriptions are what `kubectl explain` prints: they teach the format by example.
 */

/** Marks a schema that takes an integer or a string (`x-kubernetes-int-or-string` in the CRD). */
const intOrString = (description: string) =>
  z.union([z.int(), z.string()]).meta({ description, intOrString: true });

export const dnsLabelPattern = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;

export const restartPolicy = z.enum(['always', 'no']);
export const pullPolicy = z.enum(['always', 'missing', 'never']);
export const placementStrategy = z.enum(['spread', 'binpack', 'random']);

export const resourceAmounts = {
  cpus: intOrString('Processors, with fractions: "0.5" is half of one core.').optional(),
  memory: intOrString('Bytes, or with a unit as in compose: "64M", "1.5G", "512k".').optional(),
};

export const resources = z.object({
  reservations: z
    .object(resourceAmounts)
    .meta({
      description: 'Set aside on the host: an instance is only placed where this much is free.',
    })
    .optional(),
  limits: z
    .object({
      ...resourceAmounts,
      pids: z.int().min(1).meta({ description: 'Most processes in the container.' }).optional(),
    })
    .meta({ description: 'The engine enforces these.' })
    .optional(),
});

export const placement = z.object({
  strategy: placementStrategy.default('spread').meta({
    description:
      'Which of the fitting hosts is taken. spread: the one with the fewest instances of this service, then the ' +
      'fewest of all; binpack: the fullest that still fits; random: any.',
  }),
  machineMetadata: z
    .record(z.string(), z.string())
    .meta({
      description:
        'Only hosts with all of these labels. A comma separates values of which one must match: ' +
        '{region: "us-east-1,us-west-2", disk: ssd}.',
    })
    .optional(),
  machineID: z
    .string()
    .meta({
      description:
        'Only the host with this machine ID (or an unambiguous beginning of it), or this name.',
    })
    .optional(),
});

export const serviceSpec = z.object({
  image: z.string().min(1).meta({ description: 'Image reference, as for docker run: "redis:7".' }),
  command: z
    .array(z.string())
    .meta({
      description: 'Arguments in place of the image\'s CMD: [redis-server, --appendonly, "yes"].',
    })
    .optional(),
  entrypoint: z
    .array(z.string())
    .meta({ description: "Program in place of the image's ENTRYPOINT." })
    .optional(),
  environment: z
    .record(z.string(), intOrString('Value of the variable.'))
    .meta({ description: 'Environment variables: {LOG_LEVEL: debug, WORKERS: 4}.' })
    .optional(),
  ports: z
    .array(intOrString('[[HOST_IP:]HOST_PORT:]CONTAINER_PORT[/tcp|udp|sctp]'))
    .meta({
      description:
        'Ports: "8080:80" publishes port 80 of the container on port 8080 of its host; "127.0.0.1:53:53/udp" on one ' +
        'address; "3000-3002:3000-3002" a range; a bare "6379" is reachable by other services only. Two instances that ' +
        'publish the same host port never share a host.',
    })
    .optional(),
  links: z
    .array(z.string())
    .meta({
      description:
        'Other services of the project under further names: "redis-master:db" lets this service reach redis-master as db.',
    })
    .optional(),
  volumes: z
    .array(z.string())
    .meta({
      description:
        'Mounts: "data:/var/lib/x" a named volume of the project on the instance\'s host, "/srv/x:/etc/x:ro" a path of the host.',
    })
    .optional(),
  replicas: z
    .int()
    .min(0)
    .max(100_000)
    .default(1)
    .meta({ description: 'How many instances run; `kubectl scale` changes it on the Service.' }),
  restart: restartPolicy.default('always').meta({
    description:
      'What to do when the container exits: "always" start it again (with growing pauses), or "no".',
  }),
  labels: z
    .record(z.string(), z.string())
    .meta({ description: 'Labels of the containers. Keys under nap.dev/ are taken.' })
    .optional(),
  user: z
    .string()
    .meta({ description: 'User (and group) to run as: "1000:1000", "www-data".' })
    .optional(),
  workingDir: z.string().meta({ description: 'Working directory in the container.' }).optional(),
  hostname: z
    .string()
    .meta({
      description:
        'Hostname in the container. Default: the name of the instance, e.g. guestbook-web-1.',
    })
    .optional(),
  pullPolicy: pullPolicy.default('missing').meta({
    description:
      'When to pull the image: "missing" when the host has none, "always" before each creation, or "never".',
  }),
  stopSignal: z
    .string()
    .meta({ description: 'Signal that asks the container to stop: "SIGQUIT".' })
    .optional(),
  stopGracePeriod: z
    .string()
    .default('10s')
    .meta({ description: 'How long it may take to stop before it is killed: "30s", "1m30s".' }),
  resources: resources
    .meta({ description: 'What an instance is promised and what it may use at most.' })
    .optional(),
  placement: placement.meta({ description: 'Which hosts may run it.' }).optional(),
});
/** As the user wrote it: fields with defaults may be absent. */
export type ServiceSpecInput = z.input<typeof serviceSpec>;
/** With the defaults filled in. */
export type ServiceSpec = z.output<typeof serviceSpec>;
