/**
 * The kept inputs of every target once more, and that the fuzzer is worth something: bugs planted in a copy of the code
 * are found from the seeds alone. TEST_POLDER_FULL=1 fuzzes every target for TEST_POLDER_FUZZ_SECONDS (60) on top.
 */
import { spawn } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { toHex } from '../support/hex.ts'
import { readCorpus } from './corpus.ts'
import { loadTarget, TARGETS } from './targets/index.ts'

const ROOT = join(import.meta.dirname, '../..')
const FULL_SECONDS = process.env['TEST_POLDER_FULL'] === '1' ? Number(process.env['TEST_POLDER_FUZZ_SECONDS'] ?? 60) : 0
const PLANTED_SECONDS = 60

it.each(TARGETS)('%s: what was kept is taken as it should be', { timeout: 60_000 }, async (name) => {
  const target = await loadTarget(name)
  try {
    const corpus = readCorpus(name)
    expect(corpus.length).toBeGreaterThan(10)
    for (const input of [...target.seeds, ...corpus]) {
      const once = await Promise.resolve(target.run(input.slice())).catch((error: Error) => {
        throw new Error(`${toHex(input)}: ${error.message}`)
      })
      // A target that tells what is new by itself says another thing the second time.
      if (target.watches !== undefined && name !== 'http')
        expect(await target.run(input.slice()), toHex(input)).toBe(once)
    }
  } finally {
    await target.close?.()
  }
})

interface Planted {
  target: string
  file: string
  from: string
  to: string
  found: RegExp
}

const PLANTED: [what: string, Planted][] = [
  [
    'an extension header may be longer than the packet',
    {
      target: 'formats',
      file: 'packet/formats/ipv6.ts',
      from: 'if (length > end - offset) return false',
      to: '',
      found: /walked out|Offset is outside/,
    },
  ],
  [
    'a pod may send from the address of any pod',
    {
      target: 'path',
      file: 'packet/path/guard.ts',
      from: 'owner === port ? 0',
      to: 'owner !== -1 ? 0',
      found: /not its own|should be drop/,
    },
  ],
  [
    'a checksum may be put over an address',
    {
      target: 'path',
      file: 'packet/path/from-pod.ts',
      from: 'if (contradictsOffload(packet))',
      to: 'if (contradictsOffload(packet) && packet.family === 4)',
      found: /offload state that contradicts|segments of nothing|other (addresses|ports)|malformed/,
    },
  ],
  [
    'what was decided for a flow holds wherever a packet comes from',
    {
      target: 'flows',
      file: 'packet/tables/flows.ts',
      from: 'this.decisions[at] === this.#generation && this.decisions[at + 1] === origin',
      to: 'this.decisions[at] === this.#generation',
      found: /without a memory spoofed-pod/,
    },
  ],
]

/** Runs the fuzzer of the checkout at `root`; resolves to its exit code and all it said. */
async function fuzz(root: string, ...words: string[]): Promise<{ code: number; said: string }> {
  const child = spawn(process.execPath, ['test/fuzz/main.ts', ...words], { cwd: root })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (said += text))
  const code = await new Promise<number>((resolve) => child.once('close', (status) => resolve(status ?? 128)))
  return { code, said }
}

it.each(PLANTED)('finds that %s', { timeout: (PLANTED_SECONDS + 30) * 1000 }, async (_, planted) => {
  const copy = mkdtempSync(join(tmpdir(), 'polder-fuzz-'))
  try {
    for (const folder of ['packet', 'daemon', 'test/fuzz', 'test/support', 'test/vectors', 'package.json']) {
      const isKept = (path: string) => !path.endsWith('.hex')
      cpSync(join(ROOT, folder), join(copy, folder), { recursive: true, filter: isKept })
    }
    symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'))
    const file = join(copy, planted.file)
    const right = readFileSync(file, 'utf8')
    expect(right).toContain(planted.from)
    writeFileSync(file, right.replace(planted.from, planted.to))
    const { code, said } = await fuzz(copy, planted.target, String(PLANTED_SECONDS), '--first')
    console.log(said.split('\n')[0])
    expect(said).toMatch(planted.found)
    expect(code).toBe(1)
  } finally {
    rmSync(copy, { recursive: true })
  }
})

it.runIf(FULL_SECONDS > 0).each(TARGETS)(
  '%s: nothing new is found',
  { timeout: (FULL_SECONDS + 60) * 1000 },
  async (name) => {
    const { code, said } = await fuzz(ROOT, name, String(FULL_SECONDS))
    console.log(said)
    expect(code).toBe(0)
  },
)
