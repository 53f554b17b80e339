import { z } from 'zod';
import { expectedTags, rulesetScript, tableName, type BaseChain } from '../../network/ruleset.ts';
import { ExecError, type Exec } from './exec.ts';
import { parseTool } from './tool-output.ts';

const listing = z.looseObject({
  nftables: z.array(
    z.looseObject({
      chain: z
        .looseObject({
          name: z.string(),
          type: z.string().optional(),
          hook: z.string().optional(),
          prio: z.number().optional(),
        })
        .optional(),
      rule: z.looseObject({ chain: z.string(), comment: z.string().optional() }).optional(),
    }),
  ),
});

/** Makes nap's chains exactly as given, in one transaction. Returns what was wrong; nothing when all was well. */
export async function ensureChains(
  exec: Exec,
  chains: readonly BaseChain[],
  signal?: AbortSignal,
): Promise<readonly string[]> {
  const wrong = await wrongChains(exec, chains, signal);
  if (wrong.length === 0) return [];
  try {
    await exec('nft', ['-f', '-'], { input: rulesetScript(chains) }, signal);
  } catch (error) {
    if (!(error instanceof ExecError) || error.notFound) throw error;
    // A base chain's hook cannot be changed in place: make those chains anew, still in one transaction.
    const drop = wrong.map(
      (name) =>
        `add chain ip ${tableName} ${name}\nflush chain ip ${tableName} ${name}\n` +
        `delete chain ip ${tableName} ${name}\n`,
    );
    const input = `add table ip ${tableName}\n${drop.join('')}${rulesetScript(chains)}`;
    await exec('nft', ['-f', '-'], { input }, signal);
  }
  return wrong.map((name) => `rules of chain ${name} in nftables table ${tableName} restored`);
}

async function wrongChains(
  exec: Exec,
  chains: readonly BaseChain[],
  signal?: AbortSignal,
): Promise<readonly string[]> {
  let stdout: string;
  try {
    ({ stdout } = await exec('nft', ['-j', 'list', 'table', 'ip', tableName], {}, signal));
  } catch (error) {
    if (error instanceof ExecError && error.stderr.includes('No such file or directory')) {
      return chains.map((chain) => chain.name);
    }
    throw error;
  }
  const { nftables } = parseTool(listing, stdout, 'nft list');
  const tags = expectedTags(chains);
  return chains
    .filter((chain) => {
      const head = nftables.find((item) => item.chain?.name === chain.name)?.chain;
      const rules = nftables.flatMap((item) =>
        item.rule?.chain === chain.name ? [item.rule.comment ?? ''] : [],
      );
      return (
        head?.type !== chain.type ||
        head.hook !== chain.hook ||
        head.prio !== chain.priority ||
        rules.join() !== tags.get(chain.name)?.join()
      );
    })
    .map((chain) => chain.name);
}
