/**
 * Tests of a header format written as text. A case is a name, the header in hex, and what its accessors and read()
 * must answer:
 *
 *   an echo request
 *     4500 0054 0000 4000 4001 234f c0a8 cb03 c0a8 cb05 ...
 *     totalLength=84 ttl=64 srcAddr=192.168.203.3
 *
 * The bytes are the whole view, from an odd offset on, so that an accessor that reads beyond them throws. Values are
 * numbers, true or false, addresses of each kind, or `hex:...` for bytes.
 */
import { describe, expect, test } from 'vitest'
import { parseAddress } from '../../packet/address.ts'
import { fromHex, toHex, viewOf } from './hex.ts'

export interface Format<Fields> {
  check(view: DataView, at: number, end: number): boolean
  read(view: DataView, at: number): Fields
  write(view: DataView, at: number, fields: Fields): void
}

/** Not a multiple of anything: DataView must not care about alignment. */
const AT = 3

/** The bytes at offset AT of a view that ends where they end. */
export function place(bytes: Uint8Array): { view: DataView; at: number; end: number } {
  const room = new Uint8Array(AT + bytes.length)
  room.set(bytes, AT)
  return { view: viewOf(room), at: AT, end: room.length }
}

export function wellFormed<Fields extends object>(format: Format<Fields>, text: string): void {
  describe('well formed', () => {
    for (const { name, hex, expected } of parseCases(text)) {
      test(name, () => {
        const { view, at, end } = place(fromHex(hex))
        expect(format.check(view, at, end)).toBe(true)
        const fields = format.read(view, at) as Record<string, unknown>
        for (const [field, wanted] of expected) {
          const accessor = (format as unknown as Record<string, unknown>)[field]
          if (typeof accessor !== 'function' && !(field in fields)) throw new Error(`nothing is called ${field}`)
          if (typeof accessor === 'function') expect({ [field]: accessor(view, at) }).toEqual({ [field]: wanted })
          if (field in fields) expect({ [field]: signed(fields[field]) }).toEqual({ [field]: wanted })
        }
        expect(writtenAgain(format, view, at)).toBe(toHex(new Uint8Array(view.buffer)))
        for (let shorter = at; shorter < at + headerBytes(format, view, at); shorter++) {
          expect(format.check(view, at, shorter), `cut to ${shorter - at} bytes`).toBe(false)
        }
      })
    }
  })
}

/** Lines of `why: hex`. */
export function broken(format: { check(view: DataView, at: number, end: number): boolean }, text: string): void {
  describe('broken', () => {
    for (const line of text.trim().split('\n')) {
      const [why, hex] = line.split(':') as [string, string]
      test(why.trim(), () => {
        const { view, at, end } = place(fromHex(hex))
        expect(format.check(view, at, end)).toBe(false)
      })
    }
  })
}

/** The view's bytes in hex after the header has been read, blanked and written. */
export function writtenAgain<Fields>(format: Format<Fields>, view: DataView, at: number): string {
  const bytes = new Uint8Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength))
  const length = headerBytes(format, view, at)
  bytes.fill(0xee, at, at + length)
  format.write(viewOf(bytes), at, format.read(view, at))
  return toHex(bytes)
}

/** How many bytes write() is to write. */
export function headerBytes(format: unknown, view: DataView, at: number): number {
  const { headerLength, HEADER_LEN, CHUNK_HEADER_LEN } = format as {
    headerLength?: (view: DataView, at: number) => number
    HEADER_LEN: number
    CHUNK_HEADER_LEN?: number
  }
  return headerLength?.(view, at) ?? HEADER_LEN + (CHUNK_HEADER_LEN ?? 0)
}

interface Case {
  name: string
  hex: string
  expected: [field: string, value: unknown][]
}

function parseCases(text: string): Case[] {
  return text
    .trim()
    .split(/\n\s*\n/)
    .map((block) => {
      const [name, ...lines] = block.split('\n').map((line) => line.trim())
      const fields = lines.filter((line) => line.includes('='))
      return {
        name: name!,
        hex: lines.filter((line) => !line.includes('=')).join(''),
        expected: fields
          .flatMap((line) => line.split(' ').map((pair) => pair.split('=') as [string, string]))
          .map(([field, value]) => [field, parseValue(value)]),
      }
    })
}

function parseValue(text: string): unknown {
  if (text === 'true' || text === 'false') return text === 'true'
  if (text.startsWith('hex:')) return fromHex(text.slice(4))
  if (/^(..:){5}..$/.test(text)) return Number.parseInt(text.replaceAll(':', ''), 16)
  if (text.includes(':')) return [...parseAddress(text)]
  if (text.includes('.')) return parseAddress(text)[3]
  if (!/^(0x[0-9a-f]+|\d+)$/.test(text)) throw new Error(`no value: ${text}`)
  return signed(Number(text))
}

/** Accessors answer words signed, read() some of them unsigned: both are the same 32 bits. 48 bits stay as they are. */
function signed(value: unknown): unknown {
  return typeof value === 'number' && value < 2 ** 32 ? value | 0 : value
}
