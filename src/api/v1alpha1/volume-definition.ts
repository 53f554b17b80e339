import { z } from 'zod';
import { rule } from './schema-extensions.ts';

/** What becomes of a volume's data when its Project (or its Service that stands alone) is deleted. */
export const reclaimPolicy = z.enum(['retain', 'delete']);
export type ReclaimPolicy = z.infer<typeof reclaimPolicy>;

/** How a named volume is made, and how long it lives. All of it has defaults: a volume need not be defined. */
export const volumeDefinition = z.object({
  driver: z
    .string()
    .min(1)
    .max(255)
    .meta({ description: 'Volume driver of the engine, e.g. "local" (the default) or a plugin.' })
    .optional(),
  driverOpts: z
    .record(z.string(), z.string().max(4096))
    .meta({
      description:
        'Options for the driver, e.g. {type: nfs, o: "addr=10.0.0.9,rw", device: ":/export/data"}. They count when the ' +
        'volume is first made on a host; what exists is not changed.',
      maxProperties: 32,
    })
    .optional(),
  reclaimPolicy: reclaimPolicy.default('retain').meta({
    description:
      'When the Project is deleted: retain (the default) keeps the data on every host that has some; delete removes it, ' +
      'on hosts that are away at that time as soon as they are back.',
  }),
  external: z
    .boolean()
    .meta({
      description:
        'The volume was made by somebody else: nap neither makes nor deletes it, and an instance does not start where it ' +
        'is missing. Example: {external: true, name: shared-media}.',
    })
    .optional(),
  name: z
    .string()
    .min(1)
    .max(255)
    .meta({
      description: "The engine's name of an external volume. Default: the name of the entry.",
      'x-kubernetes-validations': [
        rule(
          "self.matches('^[a-zA-Z0-9][a-zA-Z0-9_.-]*$')",
          'a volume is named with letters, digits, "_", "." and "-", e.g. shared-media',
        ),
      ],
    })
    .optional(),
});
export type VolumeDefinition = z.output<typeof volumeDefinition>;

/** Definitions by name, for Project.spec.volumes and, filled in from there, Service.spec.volumeDefinitions. */
export const volumeDefinitions = (description: string) =>
  z
    .record(z.string(), volumeDefinition)
    .meta({
      description,
      maxProperties: 100,
    })
    .optional();
