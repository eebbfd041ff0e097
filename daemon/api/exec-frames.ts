/**
 * The frames both sides of an exec exchange after `101 Switching Protocols` (types.ts): 1 byte channel, 4 bytes
 * big-endian payload length, payload. Shared by the API server and the CLI.
 *
 * A frame longer than FRAME_BYTES_MAX ends the conversation: senders split (encodeFrames), so only a stranger sends one.
 */
import { EXEC_RESIZE } from './types.ts'

const HEADER_BYTES = 5
export const FRAME_BYTES_MAX = 1 << 20

export interface Frame {
  channel: number
  payload: Buffer
}

/** One frame; for payloads that may exceed FRAME_BYTES_MAX use encodeFrames. */
export function encodeFrame(channel: number, payload: Uint8Array | string): Buffer {
  const bytes = typeof payload === 'string' ? Buffer.from(payload) : payload
  const frame = Buffer.allocUnsafe(HEADER_BYTES + bytes.length)
  frame.writeUInt8(channel, 0)
  frame.writeUInt32BE(bytes.length, 1)
  frame.set(bytes, HEADER_BYTES)
  return frame
}

/** As many frames as the payload needs: none for an empty one, which would mean end of file. */
export function encodeFrames(channel: number, payload: Uint8Array): Buffer {
  if (payload.length <= FRAME_BYTES_MAX) return payload.length === 0 ? Buffer.alloc(0) : encodeFrame(channel, payload)
  const frames: Buffer[] = []
  for (let start = 0; start < payload.length; start += FRAME_BYTES_MAX) {
    frames.push(encodeFrame(channel, payload.subarray(start, start + FRAME_BYTES_MAX)))
  }
  return Buffer.concat(frames)
}

/**
 * Cuts a byte stream into frames, whatever the sizes it arrives in. Throws for a frame that is too long or of no known
 * channel, and for a stream that ends inside a frame.
 */
export async function* decodeFrames(source: AsyncIterable<Buffer>): AsyncGenerator<Frame> {
  let chunks: Buffer[] = []
  let bytes = 0
  let wanted = HEADER_BYTES
  for await (const chunk of source) {
    chunks.push(chunk)
    bytes += chunk.length
    if (bytes < wanted) continue
    const buffer = chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)
    let start = 0
    wanted = HEADER_BYTES
    while (buffer.length - start >= wanted) {
      const channel = buffer.readUInt8(start)
      const length = buffer.readUInt32BE(start + 1)
      if (channel > EXEC_RESIZE) throw new Error(`exec frame of unknown channel ${channel}`)
      if (length > FRAME_BYTES_MAX) throw new Error(`exec frame of ${length} bytes: at most ${FRAME_BYTES_MAX}`)
      if (buffer.length - start < HEADER_BYTES + length) {
        wanted = HEADER_BYTES + length
        break
      }
      start += HEADER_BYTES
      yield { channel, payload: buffer.subarray(start, start + length) }
      start += length
      wanted = HEADER_BYTES
    }
    chunks = start === buffer.length ? [] : [buffer.subarray(start)]
    bytes = buffer.length - start
  }
  if (bytes > 0) throw new Error('exec stream ended inside a frame')
}
