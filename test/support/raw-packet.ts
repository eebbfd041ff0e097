/** raw-packet.c, compiled where it is first wanted, and run in a namespace. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import * as ipv4 from '../../packet/formats/ipv4.ts'
import { PROTOCOL_UDP } from '../../packet/formats/protocols.ts'
import * as udp from '../../packet/formats/udp.ts'
import { buildBytes } from './build-packet.ts'
import { toHex } from './hex.ts'
import type { Netns, NetnsProcess } from './netns.ts'

const ROOT = join(import.meta.dirname, '../..')
let program: string | undefined

export interface Sendings {
  sent: number
  refused: number
}

function built(): string {
  if (program !== undefined) return program
  mkdirSync(join(ROOT, 'build/test'), { recursive: true })
  program = join(ROOT, `build/test/raw-packet-${process.pid}`)
  execFileSync('gcc', [
    '-std=gnu11',
    '-O2',
    '-Wall',
    '-Wextra',
    '-Werror',
    '-o',
    program,
    `${import.meta.dirname}/raw-packet.c`,
  ])
  return program
}

let files = 0

/** Starts it; `words` as raw-packet.c has them, `packets` are IP packets. */
export function startRaw(netns: Netns, packets: readonly Uint8Array[], ...words: string[]): NetnsProcess {
  const input = `${built()}.${files++}`
  writeFileSync(input, packets.map((packet) => `${toHex(packet)}\n`).join(''))
  return netns.spawn('sh', '-c', `exec "$0" "$@" < ${input}`, built(), ...words)
}

/** Sends each packet once, through the device. */
export async function sendRaw(netns: Netns, packets: readonly Uint8Array[], ...words: string[]): Promise<Sendings> {
  const sender = startRaw(netns, packets, ...(words.length === 0 ? ['device', 'eth0'] : words))
  if ((await sender.ended) !== 0) throw new Error(`raw-packet: ${sender.stderr}`)
  return JSON.parse(sender.stdout) as Sendings
}

/** A UDP datagram over IPv4 around any payload, with any source. */
export function datagram(from: string, to: string, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(28 + payload.length)
  bytes.set(buildBytes(`udp ${from} > ${to} payload ${payload.length}`))
  bytes.set(payload, 28)
  const view = new DataView(bytes.buffer)
  udp.fillChecksum(view, 20, bytes.length, ipv4.pseudoHeader(view, 0, PROTOCOL_UDP, bytes.length - 20))
  return bytes
}
