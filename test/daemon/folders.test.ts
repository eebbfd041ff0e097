/** The folders polderd writes to: made where they can be, named with their setting where they cannot. */
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { takeLock } from '../../daemon/cluster/folder/lock.ts'
import { prepareFolder } from '../../daemon/config/folders.ts'
import { silentLog } from '../support/log.ts'

let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'polder-t'))
})

afterEach(() => rmSync(folder, { recursive: true }))

it('makes what is missing, and leaves nothing else', () => {
  const path = join(folder, 'a/b/c')
  prepareFolder('stateDir', path, silentLog())
  prepareFolder('stateDir', path, silentLog())
  expect(existsSync(path)).toBe(true)
})

it('writes through no link: not to probe, not to lock', () => {
  const precious = join(folder, 'precious')
  writeFileSync(precious, 'precious')
  for (const name of ['.probe', 'lock']) symlinkSync(precious, join(folder, name))
  expect(() => prepareFolder('clusterFolder', folder, silentLog())).toThrow('ELOOP')
  expect(() => takeLock(join(folder, 'lock'))).toThrow('ELOOP')
  expect(readFileSync(precious, 'utf8')).toBe('precious')
})

it("makes them its owner's alone", () => {
  prepareFolder('clusterFolder', join(folder, 'a/b'), silentLog())
  expect(['a', 'a/b'].map((path) => statSync(join(folder, path)).mode & 0o777)).toEqual([0o700, 0o700])
})

it.each([
  ['a file in the way', () => join(folder, 'file'), 'EEXIST'],
  ['a file on the way', () => join(folder, 'file/below'), 'EEXIST'],
  ['a place where nothing can be made', () => '/proc/nope/state', 'ENOENT'],
])('%s is an error that says so', (_, path, code) => {
  writeFileSync(join(folder, 'file'), '')
  expect(() => prepareFolder('stateDir', path(), silentLog())).toThrow(
    expect.objectContaining({
      code: 'bad-folder',
      message: expect.stringContaining(code),
      remedy: expect.stringContaining('stateDir'),
    }),
  )
})
