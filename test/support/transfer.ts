/**
 * One end of a TCP transfer in both directions at once, as a program of its own: sends BYTES of pseudo-random data and
 * receives until the other end is done. Prints, as JSON, the other end's address and a hash of each direction.
 *
 *   node transfer.ts listen ADDRESS PORT BYTES        node transfer.ts connect ADDRESS PORT BYTES
 */
import { createHash, randomBytes } from 'node:crypto'
import net from 'node:net'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'

const CHUNK_BYTES = 1 << 20

const [role, address, port, bytes] = process.argv.slice(2)

/** Each chunk is the one before with another first word: different everywhere, and cheap to make. */
function* data(total: number): Generator<Buffer> {
  const chunk = randomBytes(CHUNK_BYTES)
  for (let left = total, i = 0; left > 0; left -= CHUNK_BYTES, i++) {
    const copy = Buffer.from(chunk)
    copy.writeUInt32LE(i)
    yield left < CHUNK_BYTES ? copy.subarray(0, left) : copy
  }
}

async function exchange(socket: net.Socket): Promise<void> {
  const from = socket.remoteAddress?.replace('::ffff:', '')
  const sent = createHash('sha1')
  const received = createHash('sha1')
  let receivedBytes = 0
  socket.on('data', (part) => {
    received.update(part)
    receivedBytes += part.length
  })
  const ended = new Promise<void>((resolve, reject) => socket.once('end', resolve).once('error', reject))
  const source = Readable.from(data(Number(bytes))).on('data', (part: Buffer) => sent.update(part))
  await Promise.all([pipeline(source, socket), ended])
  console.log(JSON.stringify({ from, sent: sent.digest('hex'), received: received.digest('hex'), receivedBytes }))
}

if (role === 'listen') {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    server.close()
    void exchange(socket)
  })
  server.listen(Number(port), address, () => console.error('listening'))
} else {
  const socket = net.connect({ host: address!, port: Number(port), allowHalfOpen: true })
  socket.once('connect', () => void exchange(socket))
}
