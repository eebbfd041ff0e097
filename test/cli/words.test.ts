/** The small languages of the command line: ages, durations, labels, kinds, tables, fields. Pure. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatAge } from '../../cli/age.ts'
import { parseDuration } from '../../cli/duration.ts'
import { formatFields } from '../../cli/fields.ts'
import { parseKind, parseObjects, parsePodName, parseTargets } from '../../cli/kinds.ts'
import { parseLabels, parseSelector } from '../../cli/labels.ts'
import { formatTable } from '../../cli/table.ts'

describe('age', () => {
  const MINUTE = 60
  const HOUR = 3600
  const DAY = 86_400
  test.each([
    [0, '0s'],
    [119, '119s'],
    [2 * MINUTE, '2m'],
    [2 * MINUTE + 5, '2m5s'],
    [10 * MINUTE + 59, '10m'],
    [3 * HOUR, '3h'],
    [3 * HOUR + 10 * MINUTE, '3h10m'],
    [8 * HOUR + 59 * MINUTE, '8h'],
    [2 * DAY + 5 * HOUR, '2d5h'],
    [8 * DAY + 5 * HOUR, '8d'],
    [729 * DAY, '729d'],
    [730 * DAY, '2y'],
    [800 * DAY, '2y70d'],
    [9 * 365 * DAY, '9y'],
  ])('%i seconds are %s', (seconds, text) => {
    expect(formatAge(new Date(1e12 - seconds * 1000).toISOString(), 1e12)).toBe(text)
  })

  test('what has no time, or one that is none, or lies ahead', () => {
    expect(formatAge(undefined, 0)).toBe('<unknown>')
    expect(formatAge('yesterday', 0)).toBe('<unknown>')
    expect(formatAge(new Date(5000).toISOString(), 0)).toBe('0s')
  })
})

describe('durations', () => {
  test.each([
    ['30s', 30_000],
    ['2m', 120_000],
    ['1h30m', 5_400_000],
    ['500ms', 500],
    ['1.5s', 1500],
    ['10', 10_000],
    ['0', 0],
  ])('%s is %i ms', (text, ms) => expect(parseDuration(text)).toBe(ms))

  test.each(['', 's', '-1s', '10x', '1h ', 'NaN', '1e3', '1s2'])('"%s" is none', (text) => {
    expect(() => parseDuration(text)).toThrow('A duration is written as')
  })
})

describe('labels', () => {
  test('to set', () => {
    expect(parseLabels('app=web,tier=,a/b=c=d')).toEqual({ app: 'web', tier: '', 'a/b': 'c=d' })
    expect(() => parseLabels('app')).toThrow('"app" is not understood.')
    expect(() => parseLabels('=x')).toThrow('"=x" is not understood.')
  })

  test.each([
    ['', {}, true],
    ['app=web', { app: 'web' }, true],
    ['app==web', { app: 'web' }, true],
    ['app=web', { app: 'db' }, false],
    ['app=web', undefined, false],
    ['app!=web', { app: 'db' }, true],
    ['app!=web', {}, true],
    ['app', { app: '' }, true],
    ['!app', { app: '' }, false],
    ['!app', {}, true],
    ['app=web,tier=front', { app: 'web' }, false],
    ['constructor', {}, false],
  ])('selector "%s" on %o: %s', (selector, labels, expected) => {
    expect(parseSelector(selector)(labels)).toBe(expected)
  })

  test.each(['!app=x', 'a b', '=x', 'app=<'])('selector "%s" is refused', (text) => {
    expect(() => parseSelector(text)).toThrow('is not understood')
  })
})

describe('kinds', () => {
  test.each([
    ['pods', 'Pod'],
    ['pod', 'Pod'],
    ['po', 'Pod'],
    ['Pod', 'Pod'],
    ['no', 'Node'],
    ['ns', 'Namespace'],
    ['att', 'Attachment'],
    ['problems', 'Problem'],
  ])('%s is %s', (text, kind) => expect(parseKind(text).kind).toBe(kind))

  test('a near miss is named', () => {
    expect(() => parseKind('nodse')).toThrow(
      expect.objectContaining({ remedy: expect.stringContaining('Did you mean nodes?') }),
    )
    expect(() => parseKind('constructor')).toThrow('There is no kind "constructor"')
  })

  test('targets', () => {
    const read = (words: string[]) => parseTargets(words).map(({ word, name }) => `${word.kind}:${name}`)
    expect(read(['pods'])).toEqual(['Pod:undefined'])
    expect(read(['pods,nodes'])).toEqual(['Pod:undefined', 'Node:undefined'])
    expect(read(['pod', 'a', 'b'])).toEqual(['Pod:a', 'Pod:b'])
    expect(read(['pod/a', 'no/b'])).toEqual(['Pod:a', 'Node:b'])
    expect(() => read(['pod/a', 'b'])).toThrow('"b" is not KIND/NAME.')
    expect(() => read(['pod/a/b'])).toThrow('is not KIND/NAME')
    expect(() => parseObjects(['pods'], 'delete')).toThrow('Which pod?')
    expect(() => parseObjects(['att/x'], 'delete')).toThrow('does not work on attachments')
    expect(parsePodName('pod/a')).toBe('a')
    expect(() => parsePodName('node/a')).toThrow('is not a pod')
  })
})

describe('layout', () => {
  test('a table aligns, and leaves nothing at the ends of its lines', () => {
    expect(
      formatTable([
        ['NAME', 'AGE', 'NODE'],
        ['a', '5s', 'node1'],
        ['long-name', '', ''],
      ]),
    ).toBe('NAME        AGE   NODE\na           5s    node1\nlong-name\n')
  })

  test('every column of a table of any size begins at one place', () => {
    const cell = fc.stringMatching(/^[a-z]{1,12}$/)
    fc.assert(
      fc.property(fc.array(fc.tuple(cell, cell, cell), { minLength: 1, maxLength: 50 }), (rows) => {
        const lines = formatTable(rows).split('\n')
        const second = lines[0]!.indexOf(` ${rows[0]![1]}`, rows[0]![0].length) + 1
        for (const [index, row] of rows.entries()) expect(lines[index]!.slice(second).startsWith(row[1])).toBe(true)
      }),
    )
  })

  test('fields', () => {
    const text = formatFields([
      ['Name', 'a'],
      ['Labels', []],
      ['Absent', undefined],
      ['Addresses', ['one', 'two']],
      ['Containers', [['c00', [['Image', 'busybox']]]]],
    ])
    expect(text).toBe(
      'Name:       a\nLabels:     <none>\nAddresses:  one\n            two\nContainers:\n  c00:\n    Image:  busybox\n',
    )
  })
})
