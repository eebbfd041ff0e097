/**
 * The DNS configuration for pods where the node's own cannot serve them: systemd-resolved writes a stub at 127.0.0.53
 * into /etc/resolv.conf, and loopback in a pod is the pod's own. Then the servers that systemd-resolved itself asks
 * are taken (resolv.conf(5)). Pure but for the two files read.
 */
import { readFileSync } from 'node:fs'
import type { SandboxConfig } from './client.ts'

const NODE_FILE = '/etc/resolv.conf'
const UPSTREAM_FILE = '/run/systemd/resolve/resolv.conf'

/** Undefined: the node's own file serves pods as it is, and containerd copies it. */
export function podDnsConfig(nodeFile = NODE_FILE, upstreamFile = UPSTREAM_FILE): SandboxConfig['dns_config'] {
  const own = parseResolvConf(readIfThere(nodeFile))
  if (own.servers.some((server) => !isLoopback(server))) return undefined
  const upstream = parseResolvConf(readIfThere(upstreamFile))
  return upstream.servers.length === 0 ? undefined : upstream
}

export function parseResolvConf(text: string): NonNullable<SandboxConfig['dns_config']> {
  const config = { servers: [] as string[], searches: [] as string[], options: [] as string[] }
  for (const line of text.split('\n')) {
    const [keyword, ...values] = line.trim().split(/\s+/)
    if (keyword === 'nameserver' && values[0] !== undefined) config.servers.push(values[0])
    else if (keyword === 'search') config.searches = values
    else if (keyword === 'options') config.options.push(...values)
  }
  return config
}

function isLoopback(address: string): boolean {
  return address.startsWith('127.') || address === '::1'
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
