/**
 * Firewalls that drop what the host forwards, and do not know polder0: ufw, Docker, firewalld, or rules by hand. polder
 * cannot overrule them: an accept in one base chain does not undo the drop of another, and their rules are theirs.
 *
 * A forward chain is taken to drop when its policy is drop or its last rule drops everything, and to let polder pass
 * when its table accepts both directions by name of the device or by address. Other rules are not followed: this can
 * err for a firewall that is cleverer, and never changes anything.
 */
import type { Finding } from '../../api/types.ts'
import { HOST_DEVICE } from '../device-name.ts'
import { type Check, error } from './check.ts'
import type { Chain, Rule, Ruleset } from './ruleset.ts'

export const forwardDrop: Check = ({ config, ruleset }) => [
  ...ruleset.chains.flatMap((chain) => inspectChain(chain, ruleset, config.podCIDRs)),
  ...[...ruleset.legacy].flatMap(([program, printed]) => inspectLegacy(program, printed)),
]

function inspectChain(chain: Chain, { chains, rules }: Ruleset, podCIDRs: readonly string[]): Finding[] {
  if (chain.hook !== 'forward' || chain.type !== 'filter') return []
  const ofTable = rules.filter(({ family, table }) => family === chain.family && table === chain.table)
  const last = ofTable.findLast((rule) => rule.chain === chain.name)
  const drops = chain.policy === 'drop' || (last !== undefined && isUnconditional(last) && isRefusal(last))
  if (!drops || ofTable.some((rule) => rule.chain === chain.name && isUnconditional(rule) && isAccept(rule))) return []
  const missing = (['from', 'to'] as const).filter(
    (direction) => !ofTable.some((rule) => accepts(rule, direction, podCIDRs)),
  )
  if (missing.length === 0) return []
  const names = chains.filter((one) => one.family === chain.family && one.table === chain.table).map(({ name }) => name)
  return [finding(`chain ${chain.name} of table ${chain.family} ${chain.table}`, missing, remedyFor(chain, names))]
}

function finding(place: string, missing: readonly string[], remedy: string): Finding {
  const directions = missing.join(' and ')
  return error(
    'forward-drop',
    `a firewall drops what this machine forwards ${directions} ${HOST_DEVICE} (${place}): pods do not reach the world`,
    remedy,
  )
}

function isUnconditional({ expr }: Rule): boolean {
  return !expr.some((statement) => 'match' in statement || 'limit' in statement)
}

function isRefusal({ expr }: Rule): boolean {
  return expr.some((statement) => 'drop' in statement || 'reject' in statement)
}

function isAccept({ expr }: Rule): boolean {
  return expr.some((statement) => 'accept' in statement)
}

/** Whether a rule lets pass what comes `from` polder0 or goes `to` it, by the device or by the pods' addresses. */
function accepts(rule: Rule, direction: 'from' | 'to', podCIDRs: readonly string[]): boolean {
  if (!isAccept(rule)) return false
  const keys = direction === 'from' ? ['iifname', 'iif', 'saddr'] : ['oifname', 'oif', 'daddr']
  const values = [HOST_DEVICE, ...podCIDRs.map((cidr) => cidr.split('/')[0]!)]
  return rule.expr.some(({ match }) => {
    if (match === undefined) return false
    const { left, right } = match as { left: unknown; right: unknown }
    const [asked, wanted] = [JSON.stringify(left), JSON.stringify(right)]
    return keys.some((key) => asked.includes(`"${key}"`)) && values.some((value) => wanted.includes(`"${value}"`))
  })
}

function remedyFor({ family, table, name }: Chain, names: readonly string[]): string {
  if (names.some((one) => one.startsWith('ufw'))) {
    return `Let it pass: ufw route allow in on ${HOST_DEVICE}; ufw route allow out on ${HOST_DEVICE}`
  }
  if (table === 'firewalld') {
    return `Let it pass: firewall-cmd --permanent --zone=trusted --add-interface=${HOST_DEVICE}; firewall-cmd --reload`
  }
  const iptables = family === 'ip6' ? 'ip6tables' : 'iptables'
  if (names.includes('DOCKER-USER')) return iptablesRemedy(iptables, 'DOCKER-USER')
  if (table === 'filter' && name === 'FORWARD') return iptablesRemedy(iptables, name)
  const insert = `nft insert rule ${family} ${table} ${name}`
  return `Let it pass: ${insert} iifname ${HOST_DEVICE} accept; ${insert} oifname ${HOST_DEVICE} accept`
}

function iptablesRemedy(program: string, chain: string): string {
  const insert = `${program} -I ${chain}`
  return `Let it pass: ${insert} -i ${HOST_DEVICE} -j ACCEPT; ${insert} -o ${HOST_DEVICE} -j ACCEPT`
}

/** `-P FORWARD DROP`, and `-A … -i polder0 … -j ACCEPT` */
function inspectLegacy(program: string, printed: string): Finding[] {
  const lines = printed.split('\n')
  if (!lines.includes('-P FORWARD DROP')) return []
  const missing = (['from', 'to'] as const).filter((direction) => {
    const flag = `${direction === 'from' ? '-i' : '-o'} ${HOST_DEVICE} `
    return !lines.some((line) => line.includes(flag) && line.endsWith('-j ACCEPT'))
  })
  if (missing.length === 0) return []
  const chain = lines.includes('-N DOCKER-USER') ? 'DOCKER-USER' : 'FORWARD'
  return [finding(`chain FORWARD of ${program}`, missing, iptablesRemedy(program, chain))]
}
