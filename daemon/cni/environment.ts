/**
 * The CNI_ environment variables of a call, which the shim hands over as request headers: CNI_NETNS as `cni-netns`.
 * Everything wrong with them is code 4 and names the variable.
 */
import { bareAddress, isAddress } from './capabilities.ts'
import { CniError, INVALID_ENVIRONMENT } from './cni-error.ts'

export interface PodIdentity {
  namespace: string
  name: string
  uid?: string
}

/** The specification's, for container ids and network names; 200 characters, because they become file names. */
export const IDENTIFIER = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,199}$/

/** What the kernel takes for an interface name: up to 15 bytes, no '/', ':' or white space; and nothing that garbles a log. */
const INTERFACE_NAME = /^[^/:\s\p{Cc}]+$/u
const INTERFACE_NAME_BYTES_MAX = 15

/** As node:http gives them: names in lower case. */
export type CniHeaders = NodeJS.Dict<string | string[]>

export class CniEnvironment {
  readonly #headers: CniHeaders

  constructor(headers: CniHeaders) {
    this.#headers = headers
  }

  get command(): string {
    return this.#required('CNI_COMMAND')
  }

  get containerId(): string {
    const id = this.#required('CNI_CONTAINERID')
    if (IDENTIFIER.test(id)) return id
    throw invalid(`CNI_CONTAINERID '${id}' is no container id`, 'letters, digits, and after the first also _ . -')
  }

  get ifName(): string {
    const name = this.#required('CNI_IFNAME')
    const fits = Buffer.byteLength(name) <= INTERFACE_NAME_BYTES_MAX && INTERFACE_NAME.test(name)
    if (fits && name !== '.' && name !== '..' && name !== 'lo') return name
    throw invalid(`CNI_IFNAME '${name}' is no interface name`, '1 to 15 bytes, without / : and white space, and not lo')
  }

  get netns(): string {
    return this.#required('CNI_NETNS')
  }

  /** `IP=10.244.1.50` in CNI_ARGS: the old way to ask for an address, which podman still goes. */
  get wantedAddress(): string | undefined {
    const ip = parseArgs(this.#value('CNI_ARGS') ?? '').get('IP')
    if (!ip) return undefined
    if (isAddress(ip)) return bareAddress(ip)
    throw invalid(`CNI_ARGS has IP=${ip}, which is no IP address`, 'one address, with or without prefix length')
  }

  /** The pod, where CNI_ARGS tells: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web`, in any order. */
  get pod(): PodIdentity | undefined {
    const args = parseArgs(this.#value('CNI_ARGS') ?? '')
    const [namespace, name, uid] = [args.get('K8S_POD_NAMESPACE'), args.get('K8S_POD_NAME'), args.get('K8S_POD_UID')]
    if (!namespace || !name) return undefined
    return { namespace, name, ...(uid && { uid }) }
  }

  /** Throws one error that names all of `variables` that are missing. */
  require(...variables: string[]): void {
    const missing = variables.filter((variable) => !this.#value(variable))
    if (missing.length === 0) return
    throw invalid(
      `${missing.join(', ')} ${missing.length > 1 ? 'are' : 'is'} missing`,
      'the container runtime must set them in the environment',
    )
  }

  #required(variable: string): string {
    this.require(variable)
    return this.#value(variable)!
  }

  #value(variable: string): string | undefined {
    const value = this.#headers[variable.toLowerCase().replace('_', '-')]
    // HTTP headers arrive as Latin-1, the environment is UTF-8.
    return typeof value !== 'string' ? undefined : Buffer.from(value, 'latin1').toString('utf8')
  }
}

const KNOWN_ARGS = new Set([
  'IgnoreUnknown',
  'IP',
  'K8S_POD_NAMESPACE',
  'K8S_POD_NAME',
  'K8S_POD_UID',
  'K8S_POD_INFRA_CONTAINER_ID',
])

function parseArgs(text: string): Map<string, string> {
  const args = new Map<string, string>()
  for (const pair of text.split(';').filter((part) => part !== '')) {
    const at = pair.indexOf('=')
    if (at < 1) throw invalid(`CNI_ARGS has '${pair}', which is no KEY=VALUE`, 'KEY=VALUE pairs, separated by ;')
    args.set(pair.slice(0, at), pair.slice(at + 1))
  }
  // Known, and refused whatever IgnoreUnknown says: somebody asked for it by name.
  const mac = args.get('MAC')
  if (mac) throw invalid(`CNI_ARGS asks for MAC=${mac}`, 'leave it out: a TUN device has no MAC address')
  // By convention a plugin refuses what it does not know unless told otherwise: a wish must not be lost in silence.
  const ignoresUnknown = /^(1|true|t)$/i.test(args.get('IgnoreUnknown') ?? '')
  const unknown = [...args.keys()].filter((key) => !KNOWN_ARGS.has(key))
  if (unknown.length > 0 && !ignoresUnknown) {
    throw invalid(
      `CNI_ARGS has keys that polder does not know: ${unknown.join(', ')}`,
      'leave out, or add IgnoreUnknown=1',
    )
  }
  return args
}

function invalid(message: string, details: string): CniError {
  return new CniError(INVALID_ENVIRONMENT, message, details)
}
