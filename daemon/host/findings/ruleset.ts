/**
 * The machine's packet filter as others made it: the nftables ruleset, which holds iptables-nft's rules too, and the
 * forward chains of the older iptables, where it is in use. Of the JSON of nft only what the checks look at is typed.
 *
 * libnftables-json(5)
 */
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { nft } from '../nft.ts'

export interface Chain {
  family: string
  table: string
  name: string
  /** Base chains only. */
  hook?: string
  type?: string
  policy?: string
}

export interface Rule {
  family: string
  table: string
  chain: string
  /** Statements, in order: `{match: …}`, `{counter: …}`, `{drop: null}`. */
  expr: Record<string, unknown>[]
}

export interface Ruleset {
  chains: Chain[]
  rules: Rule[]
  /** What `iptables-legacy -S` and `ip6tables-legacy -S` print, by the program's name. */
  legacy: Map<string, string>
}

export const NO_RULES: Ruleset = { chains: [], rules: [], legacy: new Map() }

/**
 * Of the rules only those of tables that look at what is forwarded. Rejects with a PolderError where there is no nft.
 *
 * Not `list ruleset`: nft 1.0.6 (Debian 12) cuts its JSON short, now and then, at a table that a process owns, and
 * polder has one.
 */
export async function readRuleset(): Promise<Ruleset> {
  const { chains } = parseRuleset(await nft(['--json', 'list', 'chains']))
  const forwarding = chains.filter(({ hook }) => hook === 'forward').map(({ family, table }) => `${family} ${table}`)
  const rules: Rule[] = []
  for (const table of new Set(forwarding)) {
    rules.push(...parseRuleset(await nft(['--json', 'list', 'table', ...table.split(' ')])).rules)
  }
  return { chains, rules, legacy: await readLegacy() }
}

export function parseRuleset(json: string): Omit<Ruleset, 'legacy'> {
  const { nftables } = JSON.parse(json) as { nftables: { chain?: Chain; rule?: Omit<Rule, 'expr'> & Partial<Rule> }[] }
  return {
    chains: nftables.flatMap(({ chain }) => chain ?? []),
    // A rule without a statement is printed without the list.
    rules: nftables.flatMap(({ rule }) => (rule === undefined ? [] : { ...rule, expr: rule.expr ?? [] })),
  }
}

/** Asks only where its tables are loaded: asking would load them. */
async function readLegacy(): Promise<Map<string, string>> {
  const legacy = new Map<string, string>()
  for (const [family, program] of [
    ['ip', 'iptables-legacy'],
    ['ip6', 'ip6tables-legacy'],
  ] as const) {
    if (!hasFilter(`/proc/net/${family}_tables_names`)) continue
    const printed = await new Promise<string>((resolve) => {
      execFile(program, ['-S'], (_, stdout) => resolve(stdout))
    })
    legacy.set(program, printed)
  }
  return legacy
}

function hasFilter(path: string): boolean {
  try {
    return readFileSync(path, 'utf8').split('\n').includes('filter')
  } catch {
    return false
  }
}
