import { homedir } from 'node:os';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { addAgentFlags } from './agent-flags.ts';
import {
  addEtcdFlags,
  addHealthFlags,
  addLogFlags,
  addRouterFlags,
  addVirtualRangeFlag,
  ipv4,
  loggerFor,
  portNumber,
  type EtcdFlags,
  type LogFlags,
} from './flags.ts';
import { runUntilSignal } from './signals.ts';
import type { UpFlags } from './up-flags.ts';

/** `nap up` */
export function upCommand(): Command {
  const command = new Command('up')
    .summary('run all of nap on this machine')
    .description(
      'Runs etcd, the Kubernetes API, the operator and an agent for this machine’s Docker, and writes a kubeconfig.\n' +
        'Ctrl-C stops them and leaves containers running; the next `nap up` goes on where this one ended.',
    )
    .option('--data-dir <dir>', 'records, certificates and kubeconfig', join(homedir(), '.nap'))
    .option('--kubeconfig <file>', 'where to write the kubeconfig (default: <data-dir>/kubeconfig)')
    .option(
      '--listen <ipv4>',
      'address for the API and etcd; another than loopback lets further hosts join',
      ipv4,
      '127.0.0.1',
    )
    .option('--api-port <port>', 'port of the API', portNumber, 6443)
    .option('--etcd-port <port>', 'port of etcd (and the next one, on loopback)', portNumber, 2379)
    .addOption(new Option('--etcd-binary <program>', 'the etcd program').default('etcd'))
    .option('--no-agent', 'run no containers on this machine');
  addVirtualRangeFlag(command);
  addLogFlags(
    addEtcdFlags(
      addHealthFlags(addAgentFlags(addRouterFlags(command))),
      'use this etcd instead of starting one',
    ),
  );
  return command.action(async (flags: UpFlags & EtcdFlags & LogFlags) => {
    const log = loggerFor(flags);
    const { up } = await import('./serve-all.ts');
    await runUntilSignal(log, (signal) => up(flags, log, signal));
  });
}
