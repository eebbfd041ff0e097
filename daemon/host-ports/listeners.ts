/**
 * The sockets at which processes of the host wait for whoever comes, as the kernel lists them in /proc/net: TCP ones that
 * listen, UDP ones that are connected to nobody. A client's UDP socket that has just asked somebody looks the same as a
 * server's: it is gone soon, and so is whatever is refused for it.
 *
 *   sl  local_address rem_address   st ...  inode        addresses in hex, each 32-bit word in the host's byte order
 *
 * proc(5), /proc/net/tcp. SCTP's are in /proc/net/sctp/eps, which polder does not look at: one port, several addresses.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { endianness } from 'node:os'
import ipaddr from 'ipaddr.js'
import type { ServiceProtocol } from '../cluster/service-objects.ts'

export interface Listener {
  /** 0.0.0.0 and :: stand for all addresses; :: for those of IPv4, too. */
  address: string
  port: number
  inode: string
}

const TCP_LISTEN = '0A'
const UNCONNECTED = '07'
const TABLES: Partial<Record<ServiceProtocol, { files: string[]; state: string }>> = {
  TCP: { files: ['tcp', 'tcp6'], state: TCP_LISTEN },
  UDP: { files: ['udp', 'udp6'], state: UNCONNECTED },
}

/** Those at this port. */
export function listenersAt(protocol: ServiceProtocol, port: number, folder = '/proc/self/net'): Listener[] {
  const table = TABLES[protocol]
  if (table === undefined) return []
  return table.files
    .flatMap((file) => parseSockets(readIfThere(`${folder}/${file}`), table.state))
    .filter((listener) => listener.port === port)
}

/** Of one file of /proc/net, those in the state asked for. */
export function parseSockets(text: string, state: string): Listener[] {
  const lines = text.split('\n').slice(1)
  return lines.flatMap((line) => {
    const [, local = '', , st, , , , , , inode = ''] = line.trim().split(/\s+/)
    const [hex, port] = local.split(':')
    if (st !== state || hex === undefined || port === undefined) return []
    return [{ address: addressOf(hex), port: Number.parseInt(port, 16), inode }]
  })
}

/** `nginx (process 12)`, or what can be said where no process is seen to have it. */
export function ownerOf({ inode }: Listener): string {
  for (const pid of readdirSync('/proc')) {
    if (!/^\d+$/.test(pid) || !hasSocket(pid, inode)) continue
    return `${readIfThere(`/proc/${pid}/comm`).trim()} (process ${pid})`
  }
  return 'a process of the host'
}

function addressOf(hex: string): string {
  const bytes = Buffer.from(hex, 'hex')
  if (endianness() === 'LE') bytes.swap32()
  return ipaddr.fromByteArray([...bytes]).toString()
}

function hasSocket(pid: string, inode: string): boolean {
  const folder = `/proc/${pid}/fd`
  try {
    return readdirSync(folder).some((fd) => linkOf(`${folder}/${fd}`) === `socket:[${inode}]`)
  } catch {
    // It ended meanwhile.
    return false
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return ''
  }
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
