/**
 * Numbered datagrams, as a program of its own. The sender sends so many at an even rate; each is its number and 60
 * bytes more. After the numbers named it sends a datagram with that text alone. The receiver prints, as JSON, what it saw,
 * once it has all numbers or none came for ten seconds.
 *
 *   node numbered-udp.ts receive ADDRESS PORT COUNT
 *   node numbered-udp.ts send ADDRESS PORT COUNT PER_SECOND [NUMBER=TEXT]...
 */
import dgram from 'node:dgram'

const DATAGRAM_BYTES = 64
/** How long the receiver waits for the next one, and for doubles once it has them all. */
const PATIENCE_MS = 10_000
const DOUBLES_MS = 200

export interface Seen {
  received: number
  doubled: number
  /** The first few. */
  lost: number[]
  /** Longest time between two numbers that arrived one after the other, and the number after it. */
  longestGapMs: number
  gapBefore: number
  /** The datagrams without a number. */
  texts: string[]
}

const [role, address, port, count, rate, ...named] = process.argv.slice(2)
const socket = dgram.createSocket({ type: 'udp4', recvBufferSize: 8 << 20 })

function receive(): void {
  const seen = new Uint8Array(Number(count))
  const result: Seen = { received: 0, doubled: 0, lost: [], longestGapMs: 0, gapBefore: 0, texts: [] }
  let lastMs = 0
  let quiet: NodeJS.Timeout | undefined
  const finish = (): void => {
    for (let i = 0; i < seen.length; i++) if (seen[i] === 0 && result.lost.length < 10) result.lost.push(i)
    console.log(JSON.stringify(result))
    socket.close()
  }
  socket.on('message', (datagram) => {
    clearTimeout(quiet)
    quiet = setTimeout(finish, PATIENCE_MS)
    if (datagram.length !== DATAGRAM_BYTES) {
      result.texts.push(datagram.toString('latin1'))
      return
    }
    const number = datagram.readUInt32BE()
    const nowMs = performance.now()
    if (lastMs !== 0 && nowMs - lastMs > result.longestGapMs) {
      result.longestGapMs = nowMs - lastMs
      result.gapBefore = number
    }
    lastMs = nowMs
    if (seen[number]! > 0) result.doubled++
    else result.received++
    seen[number] = 1
    if (result.received < seen.length) return
    clearTimeout(quiet)
    quiet = setTimeout(finish, DOUBLES_MS)
  })
  socket.bind(Number(port), address, () => console.error('listening'))
}

async function send(): Promise<void> {
  const texts = new Map(named.map((pair) => pair.split('=') as [string, string]))
  const startMs = performance.now()
  for (let number = 0; number < Number(count); ) {
    const due = Math.min(Number(count), ((performance.now() - startMs) / 1000) * Number(rate))
    for (; number < due; number++) {
      const datagram = Buffer.alloc(DATAGRAM_BYTES)
      datagram.writeUInt32BE(number)
      socket.send(datagram, Number(port), address)
      const text = texts.get(String(number))
      if (text !== undefined) socket.send(text, Number(port), address)
    }
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  socket.close()
}

if (role === 'receive') receive()
else await send()
