/**
 * The Services of a bench, and how each peer is told of them: files of a cluster folder for polder, rules for the kernel.
 * One of them is asked, the one in the middle: behind it is the pod that answers. The others are there to be looked past;
 * behind each are ten endpoints that nobody has.
 */
import { mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export interface BenchService {
  name: string
  clusterIP: string
  ports: readonly number[]
  endpoints: readonly string[]
}

export const ENDPOINTS = 10
/** Of the measures that go through a Service: their servers listen at the same ports. */
const ASKED_PORTS = [5202, 5204]

/** `endpoint` answers for the one in the middle, `asked`. */
export function listServices(count: number, endpoint: string): { services: BenchService[]; asked: BenchService } {
  const middle = count >> 1
  const services = Array.from({ length: count }, (_, i): BenchService => {
    const name = `s${i}`
    const clusterIP = `10.96.${16 + (i >> 8)}.${i & 255}`
    if (i === middle) return { name, clusterIP, ports: ASKED_PORTS, endpoints: [endpoint] }
    const net = `10.${100 + (i >> 12)}.${(i >> 4) & 255}`
    const endpoints = Array.from({ length: ENDPOINTS }, (_, e) => `${net}.${(i & 15) * ENDPOINTS + e + 1}`)
    return { name, clusterIP, ports: [80], endpoints }
  })
  return { services, asked: services[middle]! }
}

/** What was given to each stands there already, as after a restart; each with its EndpointSlice. */
export function writeServices(clusterFolder: string, services: readonly BenchService[]): void {
  for (const folder of ['services', 'endpointslices']) {
    mkdirSync(join(clusterFolder, folder, 'default'), { recursive: true })
  }
  for (const { name, clusterIP, ports, endpoints } of services) {
    const named = ports.map((port) => ({ name: `p${port}`, port }))
    writeSlice(clusterFolder, name, named, endpoints)
    writeService(clusterFolder, name, clusterIP, { ports: named })
  }
}

export function writeService(clusterFolder: string, name: string, clusterIP: string, spec: object): void {
  const service = { apiVersion: 'v1', kind: 'Service', metadata: { name, namespace: 'default' } }
  const conditions = [{ type: 'Accepted', status: 'True' }]
  const status = { clusterIPs: [clusterIP], nodePorts: [], conditions }
  writeObject(clusterFolder, `services/default/${name}.status`, { ...service, status })
  writeObject(clusterFolder, `services/default/${name}`, { ...service, spec })
}

export function writeSlice(
  clusterFolder: string,
  service: string,
  ports: readonly { name: string; port: number; protocol?: 'TCP' | 'UDP' }[],
  addresses: readonly string[],
): void {
  writeObject(clusterFolder, `endpointslices/default/${service}`, {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: service, namespace: 'default', labels: { 'kubernetes.io/service-name': service } },
    addressType: 'IPv4',
    ports,
    endpoints: addresses.map((address) => ({ addresses: [address] })),
  })
}

/** Whole or not at all, as editors save. */
function writeObject(clusterFolder: string, name: string, object: object): void {
  const path = join(clusterFolder, `${name}.yaml`)
  writeFileSync(`${path}.new`, JSON.stringify(object))
  renameSync(`${path}.new`, path)
}

/**
 * As kube-proxy's nftables mode: one map from address, protocol and port to a chain, in which one of the endpoints is
 * drawn. The Services that nobody asks share a chain.
 */
export function nftablesRules(services: readonly BenchService[], asked: BenchService): string {
  const chain = (name: string, endpoints: readonly string[]): string => {
    const elements = endpoints.map((one, i) => `${i} : ${one}`).join(', ')
    return `chain ${name} { dnat to numgen random mod ${endpoints.length} map { ${elements} }; }`
  }
  const other = services.find((one) => one !== asked) ?? asked
  const elements = services.flatMap((one) =>
    one.ports.map((port) => `${one.clusterIP} . tcp . ${port} : goto ${one === asked ? 'asked' : 'other'}`),
  )
  return `table ip bench {
    ${chain('asked', asked.endpoints)}
    ${chain('other', other.endpoints)}
    map services { type ipv4_addr . inet_proto . inet_service : verdict; elements = { ${elements.join(', ')} }; }
    chain prerouting { type nat hook prerouting priority dstnat; ip daddr . meta l4proto . th dport vmap @services; }
  }\n`
}

/**
 * As kube-proxy's iptables mode: one rule after the other finds the Service's chain, there chance finds an endpoint's
 * chain. The Services that nobody asks share theirs.
 */
export function iptablesRules(services: readonly BenchService[], asked: BenchService): string {
  const other = services.find((one) => one !== asked) ?? asked
  const chains = [
    { name: 'KUBE-SVC-ASKED', endpoints: asked.endpoints },
    { name: 'KUBE-SVC-OTHER', endpoints: other.endpoints },
  ]
  const sep = (name: string, i: number): string => `${name.replace('SVC', 'SEP')}-${i}`
  const rules = chains.flatMap(({ name, endpoints }) =>
    endpoints.flatMap((endpoint, i) => {
      const left = endpoints.length - i
      const chance = left === 1 ? '' : ` -m statistic --mode random --probability ${(1 / left).toFixed(10)}`
      return [
        `-A ${name}${chance} -j ${sep(name, i)}`,
        `-A ${sep(name, i)} -p tcp -m tcp -j DNAT --to-destination ${endpoint}`,
      ]
    }),
  )
  const names = chains.flatMap(({ name, endpoints }) => [name, ...endpoints.map((_, i) => sep(name, i))])
  const entries = services.flatMap((one) =>
    one.ports.map((port) => {
      const to = one === asked ? 'KUBE-SVC-ASKED' : 'KUBE-SVC-OTHER'
      return `-A KUBE-SERVICES -d ${one.clusterIP}/32 -p tcp -m tcp --dport ${port} -j ${to}`
    }),
  )
  const declared = ['KUBE-SERVICES', ...names].map((name) => `:${name} - [0:0]`)
  return ['*nat', ...declared, '-A PREROUTING -j KUBE-SERVICES', ...entries, ...rules, 'COMMIT', ''].join('\n')
}
