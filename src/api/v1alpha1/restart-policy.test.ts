import { describe, expect, it } from 'vitest';
import { endCauses, restartPolicy, restartsAfter } from './restart-policy.ts';

describe('restartsAfter', () => {
  /** systemd.service(5); oom: `service_shall_restart` in systemd's src/core/service.c. */
  const rows: Record<string, string[]> = {
    no: [],
    always: ['clean', 'exit-code', 'signal', 'oom', 'timeout'],
    'on-success': ['clean'],
    'on-failure': ['exit-code', 'signal', 'oom', 'timeout'],
    'on-abnormal': ['signal', 'oom', 'timeout'],
    'on-abort': ['signal'],
  };
  it.each(restartPolicy.options)('%s', (policy) => {
    expect(endCauses.filter((cause) => restartsAfter(policy, cause))).toEqual(rows[policy]);
  });
});
