/**
 * The CNI plugin where polderd takes too long, and where too many DELs are kept for it: compiled with limits that a test
 * can wait for.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { errorOf, runShim } from '../support/shim.ts'

const silent = { code: 0, stdout: '', stderr: '' }
const folder = mkdtempSync(join(tmpdir(), 'polder-shim-'))
const shim = join(folder, 'polder-cni')
const source = join(import.meta.dirname, '../../cni-plugin/polder-cni.c')
const spool = join(folder, 'spool')
const environment = { CNI_IFNAME: 'eth0', POLDER_SOCKET: join(folder, 'socket'), POLDER_SPOOL: spool }

/** Takes every call and never answers. */
let polderd: Server

beforeAll(async () => {
  execFileSync('gcc', ['-std=gnu11', '-DANSWER_TIMEOUT_S=1', '-DSPOOL_FILES_MAX=3', '-o', shim, source])
  polderd = createServer((socket) => socket.on('error', () => {}).resume())
  await new Promise<void>((resolve) => polderd.listen(environment.POLDER_SOCKET, resolve))
})
afterAll(() => {
  polderd.close()
  rmSync(folder, { recursive: true })
})

const call = (command: string, id: string) =>
  runShim(shim, { ...environment, CNI_COMMAND: command, CNI_CONTAINERID: id }, '{}')

test('says that polderd took too long, not that it stopped', async () => {
  const { code, msg } = errorOf(await call('ADD', 'c1'))
  expect({ code, msg }).toEqual({ code: 11, msg: 'polderd did not answer within 1 s: see its log' })
})

test('keeps a DEL that polderd took too long for, and no more of them than there may be', async () => {
  for (const id of ['c1', 'c2', 'c3', 'c2']) expect(await call('DEL', id)).toEqual(silent)
  const { code, msg, details } = errorOf(await call('DEL', 'c4'))
  expect({ code, details }).toEqual({ code: 11, details: spool })
  expect(msg).toContain('as many DELs are kept for it as there may be')
  expect(readdirSync(spool).sort()).toEqual(['c1@eth0', 'c2@eth0', 'c3@eth0'])
})
