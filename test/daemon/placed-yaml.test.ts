/** JSON is read by a parser of its own: it means the same and stands at the same places as the same text read as YAML. */
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { parsePlaced } from '../../daemon/config/placed-yaml.ts'

const key = fc.constantFrom('a', 'b', 'spec', '__proto__', 'x y', '1', '')
const { json } = fc.letrec((tie) => ({
  json: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom<unknown>(null, true, 0, -1, 1e30, 0.5, '', '10', 'text', 'null', '~', ': #', '\u2028é\n"'),
    fc.array(tie('json'), { maxLength: 3 }),
    fc.dictionary(key, tie('json'), { maxKeys: 4 }),
  ),
}))

/** The ways to everything in it, and to something that is not. */
function pathsOf(value: unknown, path: PropertyKey[] = []): PropertyKey[][] {
  if (typeof value !== 'object' || value === null) return [path, [...path, 'absent']]
  const inner = Array.isArray(value) ? [...value.entries()] : Object.entries(value)
  return [path, ...inner.flatMap(([name, item]) => pathsOf(item, [...path, name]))]
}

it('JSON means what it means as YAML, and everything in it stands at the same place', () => {
  fc.assert(
    fc.property(fc.dictionary(key, json, { maxKeys: 4 }), fc.constantFrom(undefined, 2), (value, indent) => {
      const text = JSON.stringify(value, null, indent)
      const [own] = parsePlaced(text, 'f').documents
      // A comment before it: no JSON any more.
      const [yaml] = parsePlaced(`#\n${text}`, 'f').documents
      expect(own!.value).toEqual(yaml!.value)
      const lineAbove = (place: string): string => place.replace(/:(\d+):/, (_, line) => `:${Number(line) - 1}:`)
      for (const path of pathsOf(value)) {
        expect(own!.placeOf(path)).toBe(lineAbove(yaml!.placeOf(path)))
        expect(own!.placeOfKey(path)).toBe(lineAbove(yaml!.placeOfKey(path)))
      }
    }),
  )
})

it('what only begins as JSON is YAML, with its mistakes', () => {
  expect(parsePlaced('{a: 1}', 'f').documents[0]!.value).toEqual({ a: 1 })
  expect(parsePlaced('{"a": 1}\n---\n{"b": 2}', 'f').documents).toHaveLength(2)
  expect(parsePlaced('{"a": }}', 'f').mistakes).toHaveLength(1)
  const deep = `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`
  expect(parsePlaced(deep, 'f')).toEqual({ documents: [], mistakes: ['f: is nested too deeply'] })
})
