/**
 * UDP there and back, as a program of its own: the asker sends datagrams of many sizes, each filled with a pattern of
 * its own, until each has come back once, and prints which were lost and which came back changed.
 *
 *   node udp-echo.ts serve ADDRESS PORT        node udp-echo.ts ask ADDRESS PORT
 */
import dgram from 'node:dgram'
import { isIPv6 } from 'node:net'

const SIZES = [1, 2, 63, 512, 1300, 1394, 1395, 1401, 1402, 1403, 1421, 1422, 1423, 2000, 4000, 9000, 60_000]
const TRIES = 25
const TRY_MS = 100

const [role, address, port] = process.argv.slice(2)
const socket = dgram.createSocket({ type: isIPv6(address!) ? 'udp6' : 'udp4', recvBufferSize: 1 << 20 })

/** The size stands in the pattern, so that one datagram is never taken for another. */
function pattern(bytes: number): Buffer {
  return Buffer.from(Uint8Array.from({ length: bytes }, (_, i) => (i * 31 + bytes) & 255))
}

if (role === 'serve') {
  socket.on('message', (datagram, from) => socket.send(datagram, from.port, from.address))
  socket.bind(Number(port), address)
} else {
  const missing = new Set(SIZES)
  const changed: number[] = []
  socket.on('message', (datagram) => {
    if (missing.delete(datagram.length) && !datagram.equals(pattern(datagram.length))) changed.push(datagram.length)
  })
  for (let i = 0; i < TRIES && missing.size > 0; i++) {
    for (const size of missing) socket.send(pattern(size), Number(port), address)
    await new Promise((resolve) => setTimeout(resolve, TRY_MS))
  }
  socket.close()
  console.log(JSON.stringify({ lost: [...missing], changed }))
}
