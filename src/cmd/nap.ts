#!/usr/bin/env node
import { Command } from 'commander';
import { agentCommand } from './agent.ts';
import { apiServerCommand } from './apiserver.ts';
import { UsageError } from './flags.ts';
import { operatorCommand } from './operator.ts';
import { upCommand } from './up.ts';
import { version } from './version.ts';

// gRPC names a server by its IP address in TLS; Node deprecates that, and nobody at this terminal can change it.
process.noDeprecation = true;

const program = new Command('nap')
  .description(
    'docker-compose-like applications over many Docker hosts, through the Kubernetes API',
  )
  .version(version, '-v, --version')
  .showHelpAfterError('(--help tells more)')
  .addCommand(upCommand())
  .addCommand(agentCommand())
  .addCommand(operatorCommand())
  .addCommand(apiServerCommand())
  .addHelpText(
    'after',
    `
Start on one machine:     nap up
                          export KUBECONFIG=~/.nap/kubeconfig
                          kubectl apply -f project.yaml
                          kubectl get projects,napsvc,hosts
Add a Docker host:        nap agent --etcd https://FIRST-MACHINE:2379 --etcd-ca … (nap up prints the whole line)`,
  );

try {
  await program.parseAsync();
  // Whatever a library left open must not keep a finished process alive.
  process.exit();
} catch (error) {
  if (error instanceof UsageError || isExpected(error)) {
    process.stderr.write(`nap: ${error.message}\n`);
  } else {
    process.stderr.write(
      `nap: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
    );
  }
  process.exit(1);
}

/** Errors of our own classes say what is wrong and what to do; a stack trace would hide it. */
function isExpected(error: unknown): error is Error {
  return error instanceof Error && 'retryable' in error;
}
