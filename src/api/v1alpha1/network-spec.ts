import { z } from 'zod';

/** Who may come in to the instances of a service; see network/isolation/isolation.ts for what each means exactly. */
export const isolationMode = z.enum(['private', 'strict', 'open']);
export type IsolationMode = z.infer<typeof isolationMode>;

/** For Project.spec.network and, filled in from there, Service.spec.network. */
export const networkSpec = (description: string) =>
  z
    .object({
      isolation: isolationMode
        .meta({
          description:
            'Who may speak to the instances, from whichever host, by any protocol, directly or through a virtual IP. private ' +
            '(default): the instances of the same project, and those of services that are linked to them from other projects ' +
            '(links: ["shop/db"] in the other one); strict: only those of services that are linked to them, inside the project, too; ' +
            'open: everybody in the overlay. Instances of one service always may. Published ports, routes and the hosts ' +
            'themselves are no part of it. A change is in force at once, for open connections, too, and restarts nothing.',
        })
        .optional(),
    })
    .meta({ description })
    .optional();
