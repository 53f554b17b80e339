import { z } from 'zod';
import type { SetDeclaration } from '../../network/nftables/nft-elements.ts';
import {
  expectedTags,
  rulesetScript,
  ruleTag,
  tableName,
  type Chain,
} from '../../network/nftables/ruleset.ts';
import { ExecError, type Exec } from './exec.ts';
import { parseTool } from './tool-output.ts';

const named = z.looseObject({ family: z.string(), table: z.string(), name: z.string() });

const listing = z.looseObject({
  nftables: z.array(
    z.looseObject({
      chain: z
        .looseObject({
          family: z.string(),
          table: z.string(),
          name: z.string(),
          type: z.string().optional(),
          hook: z.string().optional(),
          prio: z.number().optional(),
        })
        .optional(),
      rule: z
        .looseObject({
          family: z.string(),
          table: z.string(),
          chain: z.string(),
          comment: z.string().optional(),
        })
        .optional(),
      set: named.optional(),
      map: named.optional(),
    }),
  ),
});

type ListedChain = NonNullable<z.infer<typeof listing>['nftables'][number]['chain']>;

/**
 * Makes nap's chains exactly as given, in one transaction, with the sets and maps that they look into (lines that declare
 * them). Returns what was wrong; nothing when all was well.
 */
export async function ensureChains(
  exec: Exec,
  chains: readonly Chain[],
  declarations: readonly string[] = [],
  signal?: AbortSignal,
): Promise<readonly string[]> {
  const wrong = await wrongChains(exec, chains, signal);
  if (wrong.length === 0) return [];
  // Only what is wrong is touched, with all that it may go to.
  const made = chains.filter((chain) => wrong.includes(chain) || chain.base === undefined);
  try {
    await exec('nft', ['-f', '-'], { input: rulesetScript(made, declarations) }, signal);
  } catch (error) {
    if (!(error instanceof ExecError) || error.notFound || error.cancelled) throw error;
    // A base chain's hook cannot be changed in place: make those chains anew, still in one transaction.
    const drop = wrong
      .filter(({ base }) => base !== undefined)
      .map(({ family = 'ip', name }) => {
        const chain = `${family} ${tableName} ${name}`;
        return `add table ${family} ${tableName}\nadd chain ${chain}\nflush chain ${chain}\ndelete chain ${chain}\n`;
      });
    const input = `${drop.join('')}${rulesetScript(made, declarations)}`;
    await exec('nft', ['-f', '-'], { input }, signal);
  }
  return wrong.map(({ name }) => `rules of chain ${name} in nftables table ${tableName} restored`);
}

/** Whether there is a chain of this name whose first `count` rules are those of `chain`. */
export async function chainBegins(
  exec: Exec,
  chain: Chain,
  count: number,
  signal?: AbortSignal,
): Promise<boolean> {
  const { stdout } = await exec('nft', ['-j', '-t', 'list', 'ruleset'], {}, signal);
  const { family = 'ip', name } = chain;
  const comments = parseTool(listing, stdout, 'nft list').nftables.flatMap(({ rule }) => {
    const isHere = rule?.table === tableName && rule.family === family && rule.chain === name;
    return isHere ? [rule.comment] : [];
  });
  return chain.rules.slice(0, count).every((_, i) => comments[i] === ruleTag(chain, i));
}

/**
 * Takes chains of nap's away, with these sets and maps, and the table of each when nothing else is in it. Returns whether anything was
 * there. Throws ExecError.
 */
export async function removeChains(
  exec: Exec,
  chains: readonly Pick<Chain, 'family' | 'name'>[],
  sets: readonly Pick<SetDeclaration, 'family' | 'name'>[] = [],
  signal?: AbortSignal,
): Promise<boolean> {
  const { stdout } = await exec('nft', ['-j', '-t', 'list', 'ruleset'], {}, signal);
  const { nftables } = parseTool(listing, stdout, 'nft list');
  const path = ({ family = 'ip', name }: { readonly family?: string; readonly name: string }) =>
    `${family} ${tableName} ${name}`;
  const goneChains = new Set(chains.map(path));
  const goneSets = new Set(sets.map(path));
  const flushes: string[] = [];
  const deletions: string[] = [];
  const kept = new Set<string>();
  const touched = new Set<string>();
  for (const { chain, set, map } of nftables) {
    const item = chain ?? set ?? map;
    if (item?.table !== tableName) continue;
    const isGone = (chain === undefined ? goneSets : goneChains).has(path(item));
    if (!isGone) {
      kept.add(item.family);
      continue;
    }
    touched.add(item.family);
    if (chain !== undefined) flushes.push(`flush chain ${path(item)}`);
    // Chains first, whose rules look sets up.
    if (chain !== undefined) deletions.unshift(`delete chain ${path(item)}`);
    else deletions.push(`delete ${set === undefined ? 'map' : 'set'} ${path(item)}`);
  }
  if (deletions.length === 0) return false;
  const tables = [...touched]
    .filter((family) => !kept.has(family))
    .map((family) => `delete table ${family} ${tableName}`);
  const input = [...flushes, ...deletions, ...tables, ''].join('\n');
  await exec('nft', ['-f', '-'], { input }, signal);
  return true;
}

async function wrongChains(
  exec: Exec,
  chains: readonly Chain[],
  signal?: AbortSignal,
): Promise<readonly Chain[]> {
  // Of all tables: nft 1.0.6 reads every element, even with --terse, when it is asked for one table.
  const { stdout } = await exec('nft', ['-j', '-t', 'list', 'ruleset'], {}, signal);
  const { nftables } = parseTool(listing, stdout, 'nft list');
  const heads = new Map<string, ListedChain>();
  const rules = new Map<string, string[]>();
  for (const { chain, rule } of nftables) {
    if (chain?.table === tableName) heads.set(`${chain.family} ${chain.name}`, chain);
    if (rule?.table !== tableName) continue;
    const name = `${rule.family} ${rule.chain}`;
    const list = rules.get(name) ?? [];
    list.push(rule.comment ?? '');
    rules.set(name, list);
  }
  const tags = expectedTags(chains);
  return chains.filter((chain) => {
    const name = `${chain.family ?? 'ip'} ${chain.name}`;
    const head = heads.get(name);
    return (
      head === undefined ||
      head.type !== chain.base?.type ||
      head.hook !== chain.base?.hook ||
      head.prio !== chain.base?.priority ||
      (rules.get(name) ?? []).join() !== tags.get(chain.name)?.join()
    );
  });
}
