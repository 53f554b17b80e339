import { z } from 'zod';
import { bonds } from './bonds.ts';
import { byteSizePattern } from './byte-size.ts';
import { cpuQuantityPattern } from './cpu-quantity.ts';
import { durationExample, durationPattern } from './duration.ts';
import { healthCheck } from './health-check.ts';
import { hookFields } from './hooks.ts';
import { jobRules, jobs } from './job-spec.ts';
import { linkStringPattern } from './link-string.ts';
import { networkSpec } from './network-spec.ts';
import { placement, placementRules } from './placement-spec.ts';
import { portStringPattern } from './port-string.ts';
import { restartPolicy } from './restart-policy.ts';
import { maxRoutes, routeSpec } from './route.ts';
import { exampleFirst, rule, type SchemaExtensions } from './schema-extensions.ts';
import { updateSpec } from './update-policy.ts';
import { configMount, envFromSource } from './config-mount.ts';
import { templateSpec } from './template-spec.ts';
import { tmpfsStringPattern } from './tmpfs-string.ts';
import { volumeDefinitions } from './volume-definition.ts';
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

export const pullPolicy = z.enum(['always', 'missing', 'never']);

const cpus = (what: string) =>
  intOrString(`${what} "0.5" (in quotes) is half of one processor, 2 are two, "250m" a quarter.`, {
    pattern: exampleFirst(cpuQuantityPattern, '2', '250m'),
    maxLength: 20,
    minimum: 0,
  }).optional();

const memory = (what: string) =>
  intOrString(
    `${what} Bytes, or with a unit as in compose: "64M", "1.5G", "512k"; units are powers of 1024.`,
    { pattern: exampleFirst(byteSizePattern, '64M', '512k'), maxLength: 20, minimum: 0 },
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

export const serviceSpec = z
  .object({
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
        description:
          'Arguments in place of the image\'s CMD: [redis-server, --appendonly, "yes"]. Here and in entrypoint, environment, ' +
          'hostname, labels, volumes and ports %i is the number of the instance, %n its name (guestbook-web-2), %p the same ' +
          'without the number, %H its host, %m the machine ID of that; %% is a percent sign.',
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
          pattern: exampleFirst(portStringPattern, '8080:80', '53:53/udp', '80'),
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
          'publish the same host port never share a host; "80%i:80" gives instance 2 port 802.',
        'x-kubernetes-list-type': 'atomic',
      })
      .optional(),
    links: z
      .array(
        text(191).meta({
          description: '[PROJECT/]SERVICE[:ALIAS], e.g. "redis-master:db" or "shop/db".',
          'x-kubernetes-validations': [
            rule(
              `self.matches('${linkStringPattern}')`,
              'a link is SERVICE or SERVICE:ALIAS, both of lower-case letters, digits and "-", e.g. redis-master:db; ' +
                'PROJECT/SERVICE:ALIAS leads to another project',
            ),
          ],
        }),
      )
      .max(32)
      .meta({
        description:
          'Other services under further names: "redis-master:db" lets this service reach redis-master as db; "shop/redis:cache" ' +
          'leads to another project of the namespace, "_/redis" to a Service of no project. As with docker run --link, the names ' +
          'stand in /etc/hosts, and variables tell of ports (DB_PORT_6379_TCP_ADDR, …) and of what the spec of a linked service ' +
          'of the same project says under environment (DB_ENV_…), both on the virtual IP. An instance waits (reason ' +
          'LinkMissing or LinkPending) until that is there. Services of a project find each other under their own names without links.',
        'x-kubernetes-list-type': 'atomic',
      })
      .optional(),
    publish: z
      .enum(['host', 'mesh'])
      .meta({
        description:
          'Where the ports of hosts in `ports` answer. host (default): on the hosts that have an instance, one for each. ' +
          'mesh: on every host, also those without one; connections are led to the instances that are ready, which see the ' +
          "client's own address, and several may share a host. A port that another service has, or that a process of a host " +
          'listens on, is left to it.',
      })
      .optional(),
    endpointMode: z
      .enum(['vip', 'dns'])
      .meta({
        description:
          'What the name of the service stands for. vip (default): a virtual IP, the same for as long as the service exists, ' +
          'which leads each connection, to any port, to one of the instances that are ready, and is refused at once when none is. ' +
          'dns: the addresses of those instances, for clients that choose themselves. tasks.NAME always means the instances.',
      })
      .optional(),
    sessionAffinity: z
      .enum(['none', 'clientIP'])
      .meta({
        description:
          'Which instance the virtual IP leads to. none (default): any, for each connection; clientIP: connections from one ' +
          'address go to the same instance, from whichever host, for as long as it is ready; when instances come or go, only ' +
          'their own share of clients changes.',
      })
      .optional(),
    trafficPolicy: z
      .enum(['cluster', 'preferLocal'])
      .meta({
        description:
          'cluster (default): the virtual IP leads to instances on all hosts alike; preferLocal: to those on the own host of ' +
          'who asks, as long as one of them is ready.',
      })
      .optional(),
    network: networkSpec(
      'How the network treats the service: {isolation: open}. For a Service that stands alone; a Project says it under ' +
        'spec.network, for all its services, and fills it in here.',
    ),
    routes: z
      .array(routeSpec)
      .max(maxRoutes)
      .meta({
        description:
          'Requests from outside that the routers bring to this service: [{host: shop.example.com, path: /api, port: 8080, ' +
          'tls: {secret: shop-tls}}]. HTTP/1.1, HTTP/2 over TLS, WebSocket, server-sent events; the client is named in ' +
          'X-Forwarded-For. Two services that claim one host and path: the older one has it. Needs routers: nap up or nap ' +
          'operator with --router-image.',
        'x-kubernetes-list-type': 'atomic',
      })
      .optional(),
    volumes: z
      .array(
        text(255).meta({
          description:
            'NAME:/TARGET[:ro] or /HOST_PATH:/TARGET[:OPTIONS], e.g. "data:/var/lib/data".',
          'x-kubernetes-validations': [
            rule(
              `self.matches('${volumeStringPattern}')`,
              'a volume is NAME:/TARGET or /HOST_PATH:/TARGET, with :ro behind it if only to be read, e.g. ' +
                'data:/var/lib/data or /srv/conf:/etc/app:ro,rslave',
            ),
          ],
        }),
      )
      .max(32)
      .meta({
        description:
          'Mounts: "data:/var/lib/x" a named volume of the project on the instance\'s host (instances on one host share ' +
          'it; "data-%i:/var/lib/x" is one for each instance; it outlives its instances and does not follow them to another ' +
          'host); "/srv/x:/etc/x:ro" a path of the host, with a propagation if need be: "/mnt:/mnt:ro,rslave".',
        'x-kubernetes-list-type': 'atomic',
      })
      .optional(),
    tmpfs: z
      .array(
        text(255).meta({
          description: '/TARGET[:OPTION,…], e.g. "/run:size=64M,mode=1777".',
          pattern: exampleFirst(tmpfsStringPattern, '/run', '/tmp:size=64M'),
        }),
      )
      .max(32)
      .meta({
        description:
          'File systems in memory, empty at each start: "/run:size=64M,mode=1777". Options: size, mode (octal), uid, gid, ' +
          'noexec, exec, nosuid, nodev, ro. Without a size, half of the memory of the host.',
        'x-kubernetes-list-type': 'atomic',
      })
      .optional(),
    volumesFrom: z
      .array(
        text(80).meta({
          description: 'SERVICE[:ro], e.g. "data".',
          pattern: exampleFirst('^[a-z0-9]([-a-z0-9]*[a-z0-9])?(:(ro|rw))?$', 'data', 'data:ro'),
        }),
      )
      .max(1)
      .meta({
        description:
          'Another service of the project whose volumes (named ones and paths of the host, shared by its instances) are mounted here at the same ' +
          'places; "data:ro" to read only. Instances go to a host that has an instance of it. Example: ["data"].',
        'x-kubernetes-list-type': 'atomic',
      })
      .optional(),
    volumeDefinitions: volumeDefinitions(
      'How the named volumes are made: {data: {driver: local, reclaimPolicy: delete}}. For a Service that stands alone; a ' +
        'Project says it under spec.volumes, for all its services, and fills it in here.',
    ),
    configs: z
      .array(configMount)
      .max(32)
      .meta({
        description:
          "Files from the Project's configs, ConfigMaps, Secrets, or written here, to be read in the container: " +
          '[{configMap: {name: nginx, key: nginx.conf}, target: /etc/nginx/nginx.conf, onChange: {signal: SIGHUP}}]. They are ' +
          'kept in memory on the host. An instance waits (reason ConfigMissing) until all of them exist.',
        'x-kubernetes-list-type': 'atomic',
      })
      .optional(),
    templates: z
      .array(templateSpec)
      .max(16)
      .meta({
        description:
          "Files that follow the ready instances of services, written by the host's agent in the Liquid language: {{ i.name }}, ordinal, host, " +
          'address, port and ports (and ipv6, where the overlay carries it) of each i in services.NAME.instances, which are in order of ' +
          'their ordinals; also {{ project }}, ' +
          '{{ namespace }}, {{ service }}, instance.name and ordinal, host.name, address and metadata. Changes of text, check or ' +
          'reload restart nothing.',
        'x-kubernetes-list-type': 'atomic',
      })
      .optional(),
    envFrom: z
      .array(envFromSource)
      .max(16)
      .meta({
        description:
          'Environment variables from all keys of ConfigMaps and Secrets: [{configMap: settings}, {secret: keys, prefix: APP_}]. ' +
          'A later entry wins over an earlier one, and environment over both. A change replaces the instances.',
        'x-kubernetes-list-type': 'atomic',
      })
      .optional(),
    replicas: z.int().min(0).max(100_000).default(1).meta({
      description: 'How many instances run. `kubectl scale` changes it on the Service object.',
      format: 'int32',
    }),
    ...jobs,
    restart: restartPolicy
      .meta({
        description:
          'When a container that has ended is started again, as in systemd. always (default; of a oneshot: no); "no" never (in ' +
          'quotes: a bare no is false in YAML); on-success after exit code 0 or SIGHUP, SIGINT, SIGTERM, SIGPIPE; on-failure after anything ' +
          'else; on-abnormal after another signal, lack of memory or a timeout (failed health checks), but no exit code; ' +
          'on-abort after such a signal only. Pauses grow from start to start, up to a minute; a run of 10 seconds resets them.',
      })
      .optional(),
    restartSec: text(40)
      .meta({
        description:
          'Pause before the first restart; it doubles with each short run, up to a minute (or restartSec if that is ' +
          'more). Default 100ms. Example: "5s".',
        pattern: durationExample,
      })
      .optional(),
    startLimit: z
      .object({
        burst: z.int().min(1).max(1000).meta({ description: 'Most starts in the interval: 5.' }),
        interval: text(40)
          .meta({ description: 'Default 10s. Example: "1m".', pattern: durationExample })
          .optional(),
      })
      .meta({
        description:
          'Gives an instance up that starts more often than this: it is Failed with reason StartLimitHit and stays so ' +
          'until its spec changes or its container is started by hand. Without it, restarts go on with growing pauses. ' +
          'Example: {burst: 5, interval: 1m}.',
      })
      .optional(),
    fencing: z
      .enum(['none', 'stop'])
      .meta({
        description:
          'What happens on a host that loses touch with the cluster while its instances are replaced elsewhere. none (the ' +
          'default): they go on running, so that there may be two of one ordinal until the host is back. stop, for single ' +
          'writers: the host stops them before its 5 s lease can run out, and the replacement starts only when that must be ' +
          'over, never two at a time. It costs: a loss of etcd for 5 s stops them too; failover takes stopGracePeriod and 10 s ' +
          'longer; updates and moves stop the old one first; only the agent restarts them. The host must run its agent under a supervisor ' +
          'that restarts it, as the systemd unit does: an agent that is killed and never comes back stops nothing. An agent that ' +
          'was stopped on purpose and stays away is not taken for dead: its instances are replaced when it is back or its Host is deleted. ' +
          'A machine that was suspended acts for an instant when it wakes.',
      })
      .optional(),
    healthCheck: healthCheck
      .meta({
        'x-kubernetes-validations': [
          rule(
            '(has(self.http) ? 1 : 0) + (has(self.tcp) ? 1 : 0) + (has(self.exec) ? 1 : 0) <= 1',
            'an instance has one health check: take one of http, tcp and exec',
          ),
        ],
        description:
          "How to find out whether an instance serves: one of http, tcp and exec, run beside the instance by its host's " +
          'agent. Only while it passes do names and updates count the instance as ready. Without one of the three, the ' +
          "image's own HEALTHCHECK is heeded, with the times given here. Example: {http: {port: 80, path: /healthz}, interval: 5s}.",
      })
      .optional(),
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
          'Hostname in the container, e.g. "db-%i". Default: the name of the instance, e.g. guestbook-web-1.',
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
    drainTimeout: text(40)
      .meta({
        description:
          'How long open connections may go on before it is asked to stop, once no host leads new ones to it: "30s", "0s". ' +
          'It is asked as soon as none is open. Default: 10s.',
        'x-kubernetes-validations': [
          rule(
            `self.matches('${durationPattern.replaceAll('\\', '\\\\')}')`,
            'a duration is made of numbers with units h, m, s or ms, e.g. 30s or 1m30s',
          ),
        ],
      })
      .optional(),
    resources: resources
      .meta({ description: 'What an instance is promised and what it may use at most.' })
      .optional(),
    ...hookFields,
    start: z
      .boolean()
      .meta({
        description:
          'false: a data-only container, created but never started. It counts as ready when it has been created, and other ' +
          'services take its volumes with volumesFrom. Example: {image: busybox, start: false, volumes: ["data:/data"]}.',
      })
      .optional(),
    ...bonds,
    update: updateSpec
      .meta({
        description:
          'How instances get from one spec to the next: {order: start-first, parallelism: 2, monitor: 10s, failureAction: ' +
          'rollback}. Changing only replicas, placement or this restarts nothing.',
      })
      .optional(),
    placement: placement
      .meta({
        description:
          'Which hosts may run it, e.g. {machineMetadata: {disk: ssd}, conflicts: [db], maxPerHost: 2}.',
      })
      .optional(),
  })
  .meta({ 'x-kubernetes-validations': [...placementRules, ...jobRules] });
/** As the user wrote it: fields with defaults may be absent. */
export type ServiceSpecInput = z.input<typeof serviceSpec>;
/** With the defaults filled in. */
export type ServiceSpec = z.output<typeof serviceSpec>;

/** Labels of letters, digits and "-" joined by dots (RFC 1123; upper case is legal in a hostname), and placeholders. */
function hostnamePattern(): string {
  const label = '([A-Za-z0-9]|%[npiHm])(([-A-Za-z0-9]|%[npiHm])*([A-Za-z0-9]|%[npiHm]))?';
  return `^${label}([.]${label})*$`;
}

/** What Docker takes: a name with or without SIG, a real-time signal with an offset, or a number. */
function stopSignalPattern(): string {
  return '^((SIG)?[A-Z][A-Z0-9]*([+-][0-9]{1,2})?|[0-9]{1,2})$';
}
