/** The frames of exec: whatever is encoded comes out again, however the bytes are cut on the way. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeFrames, encodeFrame, encodeFrames, FRAME_BYTES_MAX } from '../../daemon/api/exec-frames.ts'
import { EXEC_STDERR, EXEC_STDIN, EXEC_STDOUT } from '../../daemon/api/types.ts'

async function* inPieces(bytes: Buffer, sizes: number[]): AsyncGenerator<Buffer> {
  let start = 0
  for (const size of sizes) {
    yield bytes.subarray(start, start + size)
    start += size
  }
  yield bytes.subarray(start)
}

async function decode(bytes: Buffer, sizes: number[] = []) {
  const frames: { channel: number; payload: string }[] = []
  for await (const { channel, payload } of decodeFrames(inPieces(bytes, sizes))) {
    frames.push({ channel, payload: payload.toString('hex') })
  }
  return frames
}

describe('exec frames', () => {
  test('are channel, length, payload', () => {
    expect(encodeFrame(EXEC_STDERR, 'hi').toString('hex')).toBe('0200000002' + '6869')
    expect(encodeFrame(EXEC_STDIN, '').toString('hex')).toBe('0000000000')
  })

  test('come back whole in whatever pieces they arrive', async () => {
    const frame = fc.record({ channel: fc.nat(4), payload: fc.uint8Array({ maxLength: 300 }) })
    await fc.assert(
      fc.asyncProperty(fc.array(frame, { maxLength: 8 }), fc.array(fc.nat(40)), async (frames, sizes) => {
        const bytes = Buffer.concat(frames.map(({ channel, payload }) => encodeFrame(channel, payload)))
        const expected = frames.map(({ channel, payload }) => ({
          channel,
          payload: Buffer.from(payload).toString('hex'),
        }))
        expect(await decode(bytes, sizes)).toEqual(expected)
      }),
    )
  })

  test('a payload that is too long for one is split', async () => {
    const payload = Buffer.alloc(FRAME_BYTES_MAX * 2 + 3, 'x')
    const lengths = (await decode(encodeFrames(EXEC_STDOUT, payload), [7])).map((frame) => frame.payload.length / 2)
    expect(lengths).toEqual([FRAME_BYTES_MAX, FRAME_BYTES_MAX, 3])
  })

  test('nothing to send is no frame: an empty one would mean end of file', () => {
    expect(encodeFrames(EXEC_STDIN, Buffer.alloc(0)).length).toBe(0)
  })

  test.each([
    ['an unknown channel', '0500000000', 'unknown channel 5'],
    ['a length beyond the bound', '01ffffffff', '4294967295 bytes'],
    ['an end inside a frame', '01000000046869', 'ended inside a frame'],
    ['an end inside a header', '0100', 'ended inside a frame'],
  ])('%s is refused', async (_, hex, message) => {
    await expect(decode(Buffer.from(hex, 'hex'))).rejects.toThrow(message)
  })
})
