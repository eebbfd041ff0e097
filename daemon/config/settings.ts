/**
 * The one table of settings: for each key of Config its check, its default and its meaning. The names follow from the
 * key: `vxlanPort` in the file, `--vxlan-port` as a flag, `POLDER_VXLAN_PORT` in the environment. load.ts reads by this
 * table, help.ts prints it; a new setting is one new entry here and one field in config.ts.
 */
import { isIP } from 'node:net'
import { hostname } from 'node:os'
import { z } from 'zod'
import { poolMistake } from './address-pool.ts'
import { cidrMistake, formatCidr, parseCidr } from './cidr.ts'
import type { Config } from './config.ts'
import { DNS_SUBDOMAIN, DNS_SUBDOMAIN_RULE } from './dns-name.ts'
import { DEFAULT_SOCKET } from './places.ts'

export interface Setting<Value> {
  /** Its messages complete the sentence "VALUE …". */
  check: z.ZodType<Value>
  default: Value
  /** Where the default is taken from, when it is not the same on every machine. */
  defaultFrom?: string
  meaning: string
}

export type Settings = { readonly [Key in keyof Config]: Setting<Config[Key]> }

const ENCAPSULATIONS = ['vxlan', 'none', 'auto'] as const
const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const

function wholeNumber(least: number, most: number): z.ZodType<number> {
  const error = `must be a whole number from ${least} to ${most}`
  return z.int({ error }).min(least, { error }).max(most, { error })
}

function matching(allowed: (text: string) => boolean, rule: string): z.ZodType<string> {
  const error = `must be ${rule}`
  return z.string({ error }).refine(allowed, { error })
}

const absolutePath = matching((path) => path.startsWith('/') && !path.includes('\0'), 'an absolute path')

const network = z.string({ error: 'must be a network such as 10.244.0.0/16' }).transform((text, context) => {
  const mistake = cidrMistake(text)
  if (mistake === undefined) return formatCidr(parseCidr(text))
  context.addIssue({ code: 'custom', message: mistake })
  return z.NEVER
})

const networks = z
  .array(network, { error: 'must be a list of networks' })
  .min(1, { error: 'must hold at least one network' })
  .refine((networks) => new Set(networks.map((text) => parseCidr(text).family)).size === networks.length, {
    error: 'must hold at most one network for each address family',
  })

const pool = z.string({ error: 'must be a pool such as 192.0.2.16/28' }).superRefine((text, context) => {
  const message = poolMistake(text)
  if (message !== undefined) context.addIssue({ code: 'custom', message })
})

export const SETTINGS: Settings = {
  nodeName: {
    check: matching((name) => DNS_SUBDOMAIN.test(name), DNS_SUBDOMAIN_RULE),
    default: hostname().toLowerCase(),
    defaultFrom: "the machine's host name",
    meaning: "This node's name in the cluster.",
  },
  podCIDRs: {
    check: networks,
    default: ['10.244.0.0/16', 'fd00:10:244::/48'],
    meaning: 'Pod ranges of the whole cluster, at most one for each address family.',
  },
  nodeMaskSizeIPv4: {
    check: wholeNumber(1, 30),
    default: 24,
    meaning: 'Prefix length of the range that each node takes from the IPv4 pod range.',
  },
  nodeMaskSizeIPv6: {
    check: wholeNumber(1, 126),
    default: 64,
    meaning: 'Prefix length of the range that each node takes from the IPv6 pod range.',
  },
  services: {
    check: z.enum(['on', 'off'], { error: 'must be on or off' }),
    default: 'on',
    meaning: 'Whether polder serves Services (on), or leaves them and their ranges to others, kube-proxy say (off).',
  },
  serviceCIDRs: {
    check: networks,
    default: ['10.96.0.0/16', 'fd00:10:96::/112'],
    meaning:
      'Ranges that Services take their addresses from, at most one for each address family; of a wide one the first 65536.',
  },
  loadBalancerPools: {
    check: z.array(pool, { error: 'must be a list of pools' }),
    default: [],
    defaultFrom: 'none',
    meaning:
      'Addresses for Services of type LoadBalancer, as networks or FIRST-LAST, tried in this order; the nodes answer for them on the underlay.',
  },
  clusterFolder: {
    check: absolutePath,
    default: '/var/lib/polder/cluster',
    meaning: 'Folder that holds the cluster state; the nodes of one machine share it.',
  },
  underlayInterface: {
    check: matching((name) => /^[^\s/:]{0,15}$/.test(name), 'the name of a network interface, or empty'),
    default: '',
    defaultFrom: 'that of the underlay address, else of the default route',
    meaning: 'Interface through which the peers are reached.',
  },
  underlayAddress: {
    check: matching((address) => address === '' || isIP(address) !== 0, 'an IP address, or empty'),
    default: '',
    defaultFrom: 'the first of the underlay interface',
    meaning: 'Address of this node at which the peers reach it.',
  },
  vxlanPort: { check: wholeNumber(1, 65_535), default: 4789, meaning: 'UDP port of VXLAN, the same on every node.' },
  vxlanVni: {
    check: wholeNumber(1, 2 ** 24 - 1),
    default: 1,
    meaning: 'VXLAN network identifier, the same on every node.',
  },
  encapsulation: {
    check: z.enum(ENCAPSULATIONS, { error: `must be one of ${ENCAPSULATIONS.join(', ')}` }),
    default: 'vxlan',
    meaning:
      'How packets go to other nodes: vxlan; auto: through the routes of the host where both ends allow it and are on one link, else in VXLAN; none: as auto, and pods get the whole MTU of the underlay.',
  },
  copyDscp: {
    check: z.boolean({ error: 'must be true or false' }),
    default: false,
    meaning: 'Let the outer header take over the DSCP of the packet inside. ECN it always does (RFC 6040).',
  },
  maxFlows: {
    check: wholeNumber(1024, 2 ** 24),
    default: 262_144,
    meaning:
      'How many conversations the node remembers at once; each takes 224 bytes of memory while it is remembered.',
  },
  runner: {
    check: z.boolean({ error: 'must be true or false' }),
    default: true,
    meaning: 'Run the pods that are bound to this node. Off where a kubelet does.',
  },
  containerdSocket: {
    check: absolutePath,
    default: '/run/containerd/containerd.sock',
    meaning: "Socket of the node's containerd.",
  },
  cniConfDir: {
    check: absolutePath,
    default: '/etc/cni/net.d',
    meaning: 'Folder in which the container runtime looks for CNI configuration.',
  },
  cniBinDir: {
    check: absolutePath,
    default: '/opt/cni/bin',
    meaning: 'Folder in which the container runtime looks for CNI plugins.',
  },
  statusFailsWhenFull: {
    check: z.boolean({ error: 'must be true or false' }),
    default: true,
    meaning:
      'Let the CNI verb STATUS fail when no address is left for another pod. containerd 2 then takes the node out of Ready.',
  },
  hostSysctls: {
    check: z.enum(['manage', 'check'], { error: 'must be manage or check' }),
    default: 'manage',
    meaning:
      'Whether polderd turns on forwarding, which pods need to reach the world (manage), or only says so (check).',
  },
  underlayGro: {
    check: z.enum(['manage', 'check'], { error: 'must be manage or check' }),
    default: 'manage',
    meaning:
      'Whether polderd turns on generic receive offload of the underlay interface, which doubles what it can receive (manage), or only says so (check).',
  },
  keeper: {
    check: z.boolean({ error: 'must be true or false' }),
    default: true,
    meaning:
      'Start a small process that keeps devices open while polderd restarts, where polderd is no service of systemd with a store for them.',
  },
  socket: {
    check: absolutePath,
    default: DEFAULT_SOCKET,
    meaning: 'Unix socket on which polderd answers.',
  },
  stateDir: { check: absolutePath, default: '/var/lib/polder', meaning: "Folder of this node's own state." },
  logLevel: {
    check: z.enum(LOG_LEVELS, { error: `must be one of ${LOG_LEVELS.join(', ')}` }),
    default: 'info',
    meaning: `Least severe messages that are logged: ${LOG_LEVELS.join(', ')}.`,
  },
}

export type SettingKey = keyof Config

export const SETTING_KEYS = Object.keys(SETTINGS) as SettingKey[]

/** podCIDRs -> --pod-cidrs, nodeMaskSizeIPv4 -> --node-mask-size-ipv4 */
export function flagOf(key: string): string {
  return `--${wordsOf(key).join('-')}`
}

/** podCIDRs -> POLDER_POD_CIDRS */
export function variableOf(key: string): string {
  return `POLDER_${wordsOf(key).join('_').toUpperCase()}`
}

function wordsOf(key: string): string[] {
  return key
    .replace(/(CIDRs|IPv[46])$/, (word) => `-${word.toLowerCase()}`)
    .replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
    .split('-')
}
