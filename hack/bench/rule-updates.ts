import { output } from '../../test/support/command.ts';
import { rounded } from './statistics.ts';

const tsx = new URL('../../node_modules/.bin/tsx', import.meta.url).pathname;
const probe = new URL('rule-update-probe.ts', import.meta.url).pathname;

/** (g) Time of a rule update by the number of services, ms. */
export async function benchRuleUpdates() {
  return {
    update_10_ms: await updateTime(10),
    update_1k_ms: await updateTime(1_000),
    update_10k_ms: await updateTime(10_000),
  };
}

async function updateTime(services: number): Promise<number> {
  const name = `bench-vip-${services}`;
  await output(['ip', 'netns', 'add', name]);
  try {
    return rounded(
      Number(await output(['ip', 'netns', 'exec', name, tsx, probe, String(services)])),
    );
  } finally {
    await output(['ip', 'netns', 'del', name]);
  }
}
