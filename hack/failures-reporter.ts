import type { Reporter, TestCase, TestModule } from 'vitest/node';

/** Says at the very end, a line each, what failed and why: the only part of a long log that everybody reads. */
export class FailuresReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const lines = modules.flatMap((module) => [
      // What failed outside a test: loading, beforeAll, afterAll.
      ...[module, ...module.children.allSuites()]
        .flatMap((suite) => suite.errors())
        .map((error) => `FAILED ${module.relativeModuleId}: ${error.message}`),
      ...[...module.children.allTests('failed')].map(
        (test) => `FAILED ${module.relativeModuleId} > ${test.fullName}: ${reason(test)}`,
      ),
    ]);
    if (lines.length > 0) process.stderr.write(`\n${lines.join('\n')}\n`);
  }
}

function reason(test: TestCase): string {
  const [first = 'no error is known'] = (test.result().errors ?? []).map(({ message }) => message);
  return (first.split('\n', 1)[0] ?? '').slice(0, 200);
}
