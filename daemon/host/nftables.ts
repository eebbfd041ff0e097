/**
 * The one nftables table of polder, `inet polder`: what leaves the cluster leaves with this node's address.
 *
 *   pod ─► its TUN ─► polderd ─► polder0 ─► host: route, forward ─► postrouting: masquerade ─► world
 *
 * Masqueraded is what comes from this node's pod ranges, goes to no pod range of the cluster and to no node, and leaves
 * by another interface than polder0. Nothing else: pods talk to pods and nodes by their own addresses, and what is for
 * this node itself never comes to postrouting. The table is replaced whole, in one transaction.
 *
 * A peer takes for ours what comes from our address to the VXLAN port. Only root may send that: what another user of this
 * host sends to a node at that port is dropped, or anybody who may log in could speak for every pod of the node.
 *
 * What comes to a node port or a pod's host port, from outside or from the node itself, is sent on to the node's virtual
 * address, to which only polder0 leads: there the path chooses the endpoint (packet/path/service.ts). A host port of one
 * address goes before one of all, and both before a node port.
 *
 * An externalIP of a Service that is an address of this host (any of its own: `fib daddr type local`) goes on to the
 * Service's cluster address, which polder0 leads to as well; every other one does so by a route.
 *
 * A table that translates makes the kernel track every connection of the host. The tunnels between nodes are no
 * connections: tracking them would cost a look-up a packet, and be of no use to anybody.
 *
 * That it stays: every commit of anybody to the ruleset raises the namespace's generation, one number to read. Only when
 * it has moved is the table listed and compared with the listing taken right after it was applied; no subprocess runs
 * while nothing changes. Other tables are never touched, and cannot be overruled: an accept here does not undo a drop
 * there (findings/firewall.ts).
 */
import type { ExternalPort } from '../control/outward.ts'
import type { NodePort } from '../control/service-ports.ts'
import type { Redirect } from '../host-ports/frontends.ts'
import type { NfTables } from '../netlink/nf-tables.ts'
import type { Mended } from './mended.ts'
import { nft } from './nft.ts'

export const TABLE = 'inet polder'

export interface NodePortSpec {
  nodePorts: readonly NodePort[]
  hostPorts: readonly Redirect[]
  /** Where what comes to a node port is sent, one for each family: addresses that only polder0 leads to. */
  virtualAddresses: readonly string[]
  externals: readonly ExternalPort[]
}

export interface TableSpec extends NodePortSpec {
  /** Pod ranges of the whole cluster. */
  podCIDRs: readonly string[]
  /** Pod ranges of this node. */
  ownRanges: readonly string[]
  /** Underlay addresses of all nodes, this one among them. */
  nodeAddresses: readonly string[]
  /** The host's own way into the pod network. */
  device: string
  vxlanPort: number
}

/** The script that puts the table in place of whatever is there. */
export function tableScript(spec: TableSpec): string {
  const families = ([4, 6] as const).map((family) => masqueradeOf(spec, family)).filter((part) => part !== undefined)
  const ports = ([4, 6] as const)
    .flatMap((family) => [nodePortsOf(spec, family), externalsOf(spec, family)])
    .filter((part) => part !== undefined)
  return `add table ${TABLE}
delete table ${TABLE}
table ${TABLE} {
${[...families.map(({ set }) => set), ...ports.flatMap(({ sets }) => sets)].join('\n')}
  chain prerouting {
    type filter hook prerouting priority raw; policy accept;
    udp dport ${spec.vxlanPort} notrack
  }
  chain output {
    type filter hook output priority raw; policy accept;
${([4, 6] as const).flatMap((family) => forgersOf(spec, family)).join('\n')}
    udp dport ${spec.vxlanPort} notrack
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
${[...families.map(({ rule }) => rule), ...ports.flatMap(({ disguise }) => disguise)].join('\n')}
  }
${ports.length === 0 ? '' : dnatChains(ports.flatMap(({ rules }) => rules))}}
`
}

interface NodePortRules {
  sets: string[]
  rules: string[]
  disguise: string[]
}

/**
 * What comes to a node port goes on to polder0, with the address it came from. Who has an address of the cluster or of
 * loopback would be answered past the host, and is shown as the node.
 */
function nodePortsOf(spec: TableSpec, family: 4 | 6): NodePortRules | undefined {
  const ports = spec.nodePorts.filter((port) => port.family === `IPv${family}`)
  const hostPorts = spec.hostPorts.filter((port) => port.family === `IPv${family}`)
  const target = spec.virtualAddresses.find(isOf(family))
  if (ports.length + hostPorts.length === 0 || target === undefined) return undefined
  const header = family === 4 ? 'ip' : 'ip6'
  const elements = ports.map(({ protocol, port }) => `${protocol.toLowerCase()} . ${port}`).toSorted()
  const sources = [`@cluster${family}`, ...(family === 4 ? ['127.0.0.0/8'] : [])]
  const local = `    meta nfproto ipv${family} fib daddr type local`
  const ofHost = hostPortsOf(hostPorts, family, local)
  const set = `  set nodeports${family} {
    type inet_proto . inet_service
    elements = { ${elements.join(', ')} }
  }`
  const rule = `${local} meta l4proto . th dport @nodeports${family} dnat ${header} to ${target}`
  return {
    sets: [...ofHost.maps, ...(ports.length === 0 ? [] : [set])],
    rules: [...ofHost.rules, ...(ports.length === 0 ? [] : [rule])],
    disguise: sources.map(
      (source) => `    oifname "${spec.device}" ${header} daddr ${target} ${header} saddr ${source} masquerade`,
    ),
  }
}

/** Maps, not sets: two host ports with one number and two addresses go on to two ports. */
function hostPortsOf(
  hostPorts: readonly Redirect[],
  family: 4 | 6,
  local: string,
): { maps: string[]; rules: string[] } {
  const [type, header] = family === 4 ? ['ipv4_addr', 'ip'] : ['ipv6_addr', 'ip6']
  const mapOf = (name: string, key: string, ports: readonly Redirect[], match: string) => {
    if (ports.length === 0) return []
    const elements = ports.map(({ address, protocol, port, virtualAddress, virtualPort }) => {
      const words = [...(address === undefined ? [] : [address]), protocol.toLowerCase(), port]
      return `${words.join(' . ')} : ${virtualAddress} . ${virtualPort}`
    })
    const map = `  map ${name}${family} {
    type ${key} : ${type} . inet_service
    elements = { ${elements.toSorted().join(', ')} }
  }`
    return [{ map, rule: `${local} dnat ${header} to ${match} map @${name}${family}` }]
  }
  const both = [
    ...mapOf(
      'hostips',
      `${type} . inet_proto . inet_service`,
      hostPorts.filter(({ address }) => address !== undefined),
      `${header} daddr . meta l4proto . th dport`,
    ),
    ...mapOf(
      'hostports',
      'inet_proto . inet_service',
      hostPorts.filter(({ address }) => address === undefined),
      'meta l4proto . th dport',
    ),
  ]
  return { maps: both.map(({ map }) => map), rules: both.map(({ rule }) => rule) }
}

function externalsOf(spec: TableSpec, family: 4 | 6): NodePortRules | undefined {
  const externals = spec.externals.filter(({ ip }) => isOf(family)(ip))
  if (externals.length === 0) return undefined
  const [type, header] = family === 4 ? ['ipv4_addr', 'ip'] : ['ipv6_addr', 'ip6']
  const elements = externals.map(
    ({ ip, protocol, port, clusterIP }) => `${ip} . ${protocol.toLowerCase()} . ${port} : ${clusterIP}`,
  )
  const clusterIPs = [...new Set(externals.map(({ clusterIP }) => clusterIP))].toSorted()
  return {
    sets: [
      `  map externals${family} {
    type ${type} . inet_proto . inet_service : ${type}
    elements = { ${elements.toSorted().join(', ')} }
  }`,
    ],
    rules: [
      `    fib daddr type local dnat ${header} to ${header} daddr . meta l4proto . th dport map @externals${family}`,
    ],
    disguise: [
      `    oifname "${spec.device}" ct status dnat ${header} daddr { ${clusterIPs.join(', ')} } ${header} saddr @cluster${family} masquerade`,
    ],
  }
}

function dnatChains(rules: readonly string[]): string {
  const chain = (name: string, hook: string, priority: string): string => `  chain ${name} {
    type nat hook ${hook} priority ${priority}; policy accept;
${rules.join('\n')}
  }
`
  return chain('nodeports-forward', 'prerouting', 'dstnat') + chain('nodeports-own', 'output', '-100')
}

function isOf(family: 4 | 6): (text: string) => boolean {
  return (text) => text.includes(':') === (family === 6)
}

/** What others than root send to nodes in polder's name. */
function forgersOf({ nodeAddresses, vxlanPort }: TableSpec, family: 4 | 6): string[] {
  const nodes = nodeAddresses.filter(isOf(family)).toSorted()
  if (nodes.length === 0) return []
  const header = family === 4 ? 'ip' : 'ip6'
  return [`    udp dport ${vxlanPort} meta skuid != 0 ${header} daddr { ${nodes.join(', ')} } drop`]
}

function masqueradeOf(spec: TableSpec, family: 4 | 6): { set: string; rule: string } | undefined {
  const own = spec.ownRanges.filter(isOf(family))
  const cluster = [...spec.podCIDRs, ...spec.nodeAddresses].filter(isOf(family)).toSorted()
  if (own.length === 0) return undefined
  const [type, header] = family === 4 ? ['ipv4_addr', 'ip'] : ['ipv6_addr', 'ip6']
  return {
    set: `  set cluster${family} {
    type ${type}; flags interval; auto-merge
    elements = { ${cluster.join(', ')} }
  }`,
    rule: `    oifname != "${spec.device}" ${header} saddr { ${own.join(', ')} } ${header} daddr != @cluster${family} masquerade`,
  }
}

/** A ruleset that others change all the while is caught at rest sooner or later; the next look is soon. */
const APPLY_ATTEMPTS = 3
/** What nft refused it refuses again, unless something has changed. */
const RETRY_MS = 30_000

interface Applied {
  script: string
  /** As nft prints it: what a look later must be equal to. */
  listing: string
  generation: number
}

export class NftTable {
  readonly #nfTables: NfTables
  readonly #script: () => string
  #applied: Applied | undefined
  #refused: { script: string; error: unknown; retryAtMs: number } | undefined
  #turn: Promise<unknown> = Promise.resolve()

  /** `script`: the table as it should be now, asked at every look. */
  constructor(nfTables: NfTables, script: () => string) {
    this.#nfTables = nfTables
    this.#script = script
  }

  /** Puts the table in place unless it is; answers what it changed. Takes 40 µs where nothing did. Calls take turns. */
  bring(): Promise<Mended[]> {
    const brought = this.#turn.then(() => this.#bring())
    this.#turn = brought.catch(() => {})
    return brought
  }

  async #bring(): Promise<Mended[]> {
    const script = this.#script()
    const generation = this.#nfTables.generation()
    const applied = this.#applied
    if (applied?.script === script) {
      if (applied.generation === generation) return []
      if ((await list()) === applied.listing) {
        this.#applied = { ...applied, generation }
        return []
      }
    }
    const refused = this.#refused
    if (refused?.script === script && performance.now() < refused.retryAtMs) throw refused.error
    try {
      this.#applied = await this.#apply(script)
      this.#refused = undefined
    } catch (error) {
      this.#refused = { script, error, retryAtMs: performance.now() + RETRY_MS }
      throw error
    }
    // A node that came or went is nothing that somebody took away.
    const isNews = applied !== undefined && applied.script !== script
    return isNews ? [] : [{ kind: 'nftables', what: `table ${TABLE}` }]
  }

  /** The listing is ours for sure only if nobody committed anything between our commit and the look. */
  async #apply(script: string): Promise<Applied> {
    for (let attempt = 1; ; attempt++) {
      const before = this.#nfTables.generation()
      await nft(['-f', '-'], script)
      const listing = (await list()) ?? ''
      const generation = (before + 1) >>> 0
      if (this.#nfTables.generation() === generation || attempt === APPLY_ATTEMPTS) {
        return { script, listing, generation }
      }
    }
  }
}

/** Undefined where there is no such table. */
async function list(): Promise<string | undefined> {
  try {
    return await nft(['--stateless', 'list', 'table', ...TABLE.split(' ')])
  } catch {
    return undefined
  }
}

/** False where there was none. */
export async function removeTable(): Promise<boolean> {
  if ((await list()) === undefined) return false
  await nft(['delete', 'table', ...TABLE.split(' ')])
  return true
}
