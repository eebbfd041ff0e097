/** What JavaScript and the addon share has one layout, written twice: here the two are held against each other. */
import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import * as typescript from '../../daemon/nic/descriptors.ts'
import * as dropReasons from '../../packet/path/drop-reason.ts'
import { DROP_REASONS } from '../../packet/path/drop-reason.ts'
import { ENCAPSULATION_BYTES } from '../../packet/path/rewrite.ts'

const header = readFileSync(new URL('../../daemon/nic/addon/dataplane.h', import.meta.url), 'utf8')

/** Every enumerator of the header, as C counts them. */
function enumerators(): Map<string, number> {
  const found = new Map<string, number>()
  const text = header.replace(/\/\*.*?\*\//gs, '')
  for (const [, body] of text.matchAll(/enum \{(.*?)\};/gs)) {
    let next = 0
    for (const entry of body!
      .split(',')
      .map((part) => part.trim())
      .filter(Boolean)) {
      const [name, value] = entry.split('=').map((part) => part.trim())
      next = value === undefined ? next : Number(value)
      found.set(name!, Number.isNaN(next) ? Number.NaN : next++)
    }
  }
  return found
}

it('every constant of descriptors.ts has the value that the addon gives it', () => {
  const inC = enumerators()
  const inTypeScript = Object.entries(typescript)
  expect(inTypeScript.length).toBeGreaterThan(25)
  for (const [name, value] of inTypeScript) expect([name, inC.get(name)]).toEqual([name, value])
  expect(inC.get('ENCAP_BYTES')).toBe(ENCAPSULATION_BYTES)
})

it('every drop reason has its own code, which is its place in the table', () => {
  const codes = Object.entries(dropReasons).filter(([name]) => name.startsWith('DROP_') && name !== 'DROP_REASONS')
  expect(codes.length).toBe(DROP_REASONS.length - 1)
  for (const [name, code] of codes) {
    expect(DROP_REASONS[code as number]!.name).toBe(name.slice('DROP_'.length).toLowerCase().replaceAll('_', '-'))
  }
})
