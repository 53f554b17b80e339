import { z } from 'zod';
import { rule } from './schema-extensions.ts';

export const placementStrategy = z.enum(['spread', 'binpack', 'random']);

const text = (maxLength: number) => z.string().max(maxLength);

/** `service` or `project/service`, with globs; a standalone service's project is `_`. */
export const conflictPattern = '^([-a-z0-9*?_]{1,63}/)?[-a-z0-9*?]{1,63}$';

const labels = (description: string) =>
  z.record(z.string(), text(1024)).meta({ description, maxProperties: 64 });

const preference = z
  .object({
    machineMetadata: labels(
      'Hosts with all of these labels are better, written as in placement.machineMetadata: {disk: ssd}.',
    ).optional(),
    spread: text(317)
      .min(1)
      .meta({
        description:
          'A label: its values get even shares of the instances; hosts without the label count as one more value. Example: zone.',
      })
      .optional(),
    weight: z
      .int()
      .min(1)
      .max(100)
      .default(1)
      .meta({
        description:
          'What a host costs for not matching, or for each instance of the service on hosts with the same value of the ' +
          'label. The host that costs least is taken.',
        format: 'int32',
      }),
  })
  .meta({
    'x-kubernetes-validations': [
      rule(
        'has(self.machineMetadata) != has(self.spread)',
        'a preference says either machineMetadata or spread: {machineMetadata: {disk: ssd}, weight: 10} or {spread: zone}',
      ),
    ],
  });

export const placement = z
  .object({
    strategy: placementStrategy.default('spread').meta({
      description:
        'Which of the fitting hosts is taken. spread: the one with the fewest instances of this service, then the ' +
        'fewest of all; binpack: the fullest that still fits; random: any.',
    }),
    machineMetadata: labels(
      'Only hosts with all of these labels. A comma separates values of which one must match: ' +
        '{region: "us-east-1,us-west-2", disk: ssd}. Labels are the Host object\'s, else the agent\'s --metadata.',
    ).optional(),
    machineID: text(253)
      .min(1)
      .meta({
        description:
          'Only the host with this machine ID, or with an ID that begins so if no other does, or of this name.',
      })
      .optional(),
    machineOf: text(63)
      .min(1)
      .meta({
        description:
          'Another service of the project: only hosts that have an instance of it. When that one moves, this one follows ' +
          'it; when there is none of it, what runs stays where it is, and nothing new is placed. Example: redis-master.',
      })
      .optional(),
    conflicts: z
      .array(text(127).min(1).meta({ pattern: conflictPattern }))
      .max(32)
      .meta({
        description:
          'Services whose instances are never on the same host as one of this, whichever of the two says so: "db" of the ' +
          'project, "shop/db" of another one of the namespace, with * and ? as in file names: "*-db", "*/cron". A service ' +
          'may name itself: then no two of its instances share a host.',
        'x-kubernetes-list-type': 'atomic',
      })
      .optional(),
    global: z
      .boolean()
      .meta({
        description:
          'One instance on every host that the other rules allow, as hosts come and go. Leave replicas out. A cordoned ' +
          'host keeps its instance and a host that comes back finds it running; numbers may have gaps.',
      })
      .optional(),
    maxPerHost: z
      .int()
      .min(1)
      .max(100_000)
      .meta({ description: 'Most instances of the service on one host: 2.', format: 'int32' })
      .optional(),
    preferences: z
      .array(preference)
      .max(8)
      .meta({
        description:
          'Which of the fitting hosts are better; asked before the strategy. None of them keeps an instance from running: ' +
          '[{spread: zone, weight: 10}, {machineMetadata: {disk: ssd}}].',
        'x-kubernetes-list-type': 'atomic',
      })
      .optional(),
    volumeAffinity: z
      .enum(['required', 'none'])
      .meta({
        description:
          'What binds an instance with a named volume to the host that has it. required (default): it returns there, and ' +
          'waits for it, until the host is lost; then it moves, with an event that its data stay behind. none: nothing.',
      })
      .optional(),
  })
  .meta({
    'x-kubernetes-validations': [
      rule(
        '!(has(self.global) && self.global) || !(has(self.machineOf) || has(self.maxPerHost) || has(self.preferences))',
        'a global service has one instance on every matching host: machineOf, maxPerHost and preferences have no meaning for it; leave them out',
      ),
    ],
  });

/** For a ServiceSpec: what placement and the other fields must not say together. */
export const placementRules = [
  rule(
    '!(has(self.placement) && has(self.placement.global) && self.placement.global && has(self.replicas) && self.replicas != 1)',
    'a global service has one instance on every matching host: leave replicas out',
  ),
];

/** For a Project's services: what they say of each other. */
export const projectPlacementRules = [
  rule(
    // A list of one, so that has() looks at a variable: not every implementation of CEL takes an index in it.
    'self.all(name, !has(self[name].placement) || ' +
      '[self[name].placement].all(p, !has(p.machineOf) || (p.machineOf in self && p.machineOf != name)))',
    'placement.machineOf must name another service of this project',
  ),
];
