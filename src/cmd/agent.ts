import { Command } from 'commander';
import { addAgentFlags, type AgentFlags } from './agent-flags.ts';
import {
  addEtcdFlags,
  addHealthFlags,
  addLogFlags,
  loggerFor,
  type EtcdFlags,
  type HealthFlags,
  type LogFlags,
} from './flags.ts';
import { runUntilSignal } from './signals.ts';

/** `nap agent` */
export function agentCommand(): Command {
  const command = new Command('agent')
    .summary('run the agent of this Docker host')
    .description(
      'Runs what the operator places on this host: joins the overlay network, runs containers, answers names.\n' +
        'Stopping the agent leaves containers running.',
    )
    .addHelpText(
      'after',
      `
Example:
  nap agent --etcd https://10.0.0.1:2379 --etcd-ca ca.crt --etcd-cert agent.crt --etcd-key agent.key \\
            --metadata region=eu-west-1,disk=ssd`,
    );
  addLogFlags(addEtcdFlags(addHealthFlags(addAgentFlags(command))));
  return command.action(async (flags: AgentFlags & HealthFlags & EtcdFlags & LogFlags) => {
    const log = loggerFor(flags);
    // What a command runs is loaded when it runs: an agent has no need of the API server in its memory.
    const [{ withHealth }, { withStore }, { serveAsAgent }] = await Promise.all([
      import('./with-health.ts'),
      import('./with-store.ts'),
      import('./serve-agent.ts'),
    ]);
    await runUntilSignal(log, (signal) =>
      withHealth(flags, log, ['agent'], (health) =>
        withStore(flags, log, (store) => serveAsAgent(flags, { store, log, health }, signal)),
      ),
    );
  });
}
