/**
 * What a runtime asks for on behalf of one container, in `runtimeConfig`: the capabilities of CNI's conventions. polder
 * acts on `ips` (these addresses, if they are free), `dns` (passed on in the result) and `portMappings` (host ports). What it
 * does not act on is refused by name (code 2): a wish must not be lost in silence.
 *
 * Keys count without their case: containerd 1.6 writes `{"HostPort": 80}`, others `{"hostPort": 80}`.
 */
import { isIP } from 'node:net'
import { z } from 'zod'
import { showValue } from '../config/placed-yaml.ts'
import { canonicalHostIP, hostIPMistake, type PortMapping } from '../host-ports/port-mapping.ts'
import { CniError, UNSUPPORTED_FIELD } from './cni-error.ts'
import { shaped } from './shaped.ts'

export interface Wishes {
  /** Bare addresses, at most one a family. */
  addresses: string[]
  /** In the result's words: nameservers, search, options; only what was asked for. */
  dns: { nameservers?: string[]; search?: string[]; options?: string[] }
  hostPorts: PortMapping[]
}

/** Declared in the conflist, so that runtimes pass them. */
export const CAPABILITIES = { ips: true, dns: true, portMappings: true }
const KNOWN = new Set(Object.keys(CAPABILITIES).map((key) => key.toLowerCase()))

/** Why the well-known ones are refused; keys in small letters. */
const REASONS = new Map([
  ['bandwidth', 'polder limits no bandwidth: leave the limit out'],
  ['mac', 'leave it out: a TUN device has no MAC address'],
  ['aliases', 'polder keeps no names: leave the alias out and use the pod address'],
])

export function refuseField(key: string, value: unknown, reason = 'remove it: polder does not act on it'): never {
  const field = `${key} = ${showValue(value)}`
  throw new CniError(UNSUPPORTED_FIELD, `unsupported field in the network configuration: ${field}`, reason)
}

/** Nothing wished for is nothing to refuse: false, null, empty. */
export function asksForNothing(value: unknown): boolean {
  if (value === undefined || value === null || value === false || value === '') return true
  return typeof value === 'object' && Object.keys(value).length === 0
}

const ipText = z.string().refine((text) => isIP(text) !== 0, 'must be IP addresses')
const dnsSchema = z.object({
  servers: z.array(ipText).nullish(),
  searches: z.array(z.string()).nullish(),
  options: z.array(z.string()).nullish(),
})
const ipsSchema = z.array(z.string().refine(isAddress, 'must be IP addresses, with or without prefix length'))
const PORT_RULE = 'must be a port, 1 to 65535'
const portMappingsSchema = z.array(
  z.preprocess(
    (value) => keysAs(['hostPort', 'containerPort', 'protocol', 'hostIP'], value),
    z.object({
      // 0, and less, ask for none.
      hostPort: z.int().max(65_535, PORT_RULE).nullish(),
      containerPort: z.int().min(1, PORT_RULE).max(65_535, PORT_RULE),
      protocol: z
        .string()
        .transform((protocol) => protocol.toUpperCase() || 'TCP')
        .pipe(z.enum(['TCP', 'UDP', 'SCTP'], { error: 'must be tcp, udp or sctp' }))
        .nullish(),
      hostIP: z
        .string()
        .superRefine((hostIP, context) => {
          const mistake = hostIP === '' ? undefined : hostIPMistake(hostIP)
          if (mistake !== undefined) context.addIssue({ code: 'custom', message: mistake })
        })
        .nullish(),
    }),
  ),
)
const objectSchema = z.looseObject({}).nullish()
const argsSchema = z.looseObject({ cni: z.looseObject({ ips: ipsSchema.nullish() }).nullish() })

/** 10.244.1.50, 10.244.1.50/24, and likewise for IPv6. */
export function isAddress(text: string): boolean {
  const [address = '', prefix, ...rest] = text.split('/')
  const bits = { 0: -1, 4: 32, 6: 128 }[isIP(address)]!
  if (address.includes('%') || bits < 0 || rest.length > 0) return false
  return prefix === undefined || (/^\d{1,3}$/.test(prefix) && Number(prefix) <= bits)
}

/**
 * `runtimeConfig` comes before `args`, the older place. Throws code 2 for what polder does not act on, code 7 for what is
 * not well-formed.
 */
export function readWishes(runtimeConfig: unknown, args: unknown): Wishes {
  const given = new Map<string, unknown>()
  for (const [key, value] of Object.entries(shaped(objectSchema, runtimeConfig, 'runtimeConfig') ?? {})) {
    const name = key.toLowerCase()
    if (KNOWN.has(name)) given.set(name, value)
    else if (!asksForNothing(value)) refuseField(`runtimeConfig.${key}`, value, REASONS.get(name))
  }
  const ips = shaped(ipsSchema.nullish(), given.get('ips'), 'runtimeConfig.ips')
  const dns = shaped(dnsSchema.nullish(), keysAs(Object.keys(dnsSchema.shape), given.get('dns')), 'runtimeConfig.dns')
  const mappings = shaped(portMappingsSchema.nullish(), given.get('portmappings'), 'runtimeConfig.portMappings')
  const ofArgs = shaped(argsSchema.nullish(), args, 'args')?.cni?.ips
  const addresses = ips?.length ? onePerFamily('runtimeConfig.ips', ips) : onePerFamily('args.cni.ips', ofArgs ?? [])
  return {
    addresses,
    dns: {
      ...(dns?.servers?.length && { nameservers: dns.servers }),
      ...(dns?.searches?.length && { search: dns.searches }),
      ...(dns?.options?.length && { options: dns.options }),
    },
    hostPorts: hostPortsOf(mappings ?? []),
  }
}

/** Those who ask for a host port; who asks for the same twice asks once. */
function hostPortsOf(mappings: z.infer<typeof portMappingsSchema>): PortMapping[] {
  const wanted = new Map<string, PortMapping>()
  for (const { hostPort, containerPort, protocol, hostIP: given } of mappings) {
    if (hostPort === undefined || hostPort === null || hostPort <= 0) continue
    const hostIP = canonicalHostIP(given)
    const mapping: PortMapping = { protocol: protocol ?? 'TCP', hostPort, containerPort }
    if (hostIP !== undefined) mapping.hostIP = hostIP
    wanted.set(JSON.stringify(mapping), mapping)
  }
  return [...wanted.values()]
}

/** The prefix length says nothing here: a pod's address is a prefix of its own. */
export function bareAddress(text: string): string {
  return text.split('/')[0]!
}

function onePerFamily(key: string, ips: string[]): string[] {
  const addresses = ips.map(bareAddress)
  if (new Set(addresses.map(isIP)).size === addresses.length) return addresses
  refuseField(key, ips, 'ask for at most one address of each family')
}

/** With these keys in place of those that differ from them in case. */
function keysAs(keys: readonly string[], value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  const written = new Map(keys.map((key) => [key.toLowerCase(), key]))
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [written.get(key.toLowerCase()) ?? key, each]))
}
