/** polderd's own log as a plain file: it keeps its end, and whatever is written next. */
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { boundOwnLog } from '../../daemon/files/own-log.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'polder-log-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

function withLog(flags: string, work: (fd: number) => void): string {
  const path = join(folder, 'polderd.log')
  const fd = openSync(path, flags)
  for (let line = 0; line < 1000; line++) writeSync(fd, `line ${line}\n`)
  work(fd)
  writeSync(fd, 'next\n')
  closeSync(fd)
  return readFileSync(path, 'utf8')
}

test('keeps its last half, in whole lines, and goes on', () => {
  const lines = withLog('a', (fd) => boundOwnLog(fd, 2000)).split('\n')
  expect(lines.slice(-3)).toEqual(['line 999', 'next', ''])
  expect(lines[0]).toMatch(/^line \d{3}$/)
  expect(lines.length).toBe(Math.floor(1000 / 'line 999\n'.length) + 2)
})

test('is left alone while it is short, or not opened for appending', () => {
  expect(withLog('a', (fd) => boundOwnLog(fd, 20_000))).toMatch(/^line 0\n/)
  rmSync(join(folder, 'polderd.log'))
  expect(withLog('w', (fd) => boundOwnLog(fd, 2000))).toMatch(/^line 0\n/)
})
