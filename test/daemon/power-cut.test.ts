/**
 * The power goes at any moment of polderd's life, or polderd is killed: what the next one finds on disk.
 *
 *   real code on a real folder ──recorded──► steps ──every prefix, many choices of what was not flushed──► folders
 *                                                                        └─► the real reading code on each
 *
 * No crash; nothing that was acknowledged is lost, or comes back; no address and no range is handed out twice; nothing
 * half is taken for whole. That the test can fail is tested too: the same steps without their flushes must break it.
 */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pino from 'pino'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Attachment } from '../../daemon/attachments/attachment.ts'
import { AttachmentRecords } from '../../daemon/attachments/records.ts'
import { FolderStore } from '../../daemon/cluster/folder/folder-store.ts'
import { Ipam } from '../../daemon/ipam/ipam.ts'
import { podNamed } from '../support/cluster-folder.ts'
import { build, type Chance, leftAfter, read, type Step, VolatileDisk } from '../support/volatile-disk.ts'

const FULL = process.env['TEST_POLDER_FULL'] === '1'
const RANDOM_CUTS = FULL ? 5_000 : 100
const RANGES = {
  podCIDRs: ['10.244.0.0/16', 'fd00:10:244::/48'],
  serviceCIDRs: ['10.96.0.0/16', 'fd00:10:96::/112'],
  loadBalancerPools: [],
  nodeMaskSizeIPv4: 24,
  nodeMaskSizeIPv6: 64,
}
const seed = Number(process.env['TEST_POLDER_SEED'] ?? Date.now() % 2 ** 31)

let scratch: string
let serial = 0

beforeAll(() => {
  console.log(`TEST_POLDER_SEED=${seed}`)
  // Thousands of folders, and every one of them flushed: in memory where that can be.
  scratch = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'polder-power-'))
})
afterAll(() => rmSync(scratch, { recursive: true }))

/** Lehmer's generator (Park and Miller, 1988), below 1. */
function chances(from: number): Chance {
  let state = (from % (2 ** 31 - 2)) + 1
  const next = (): number => {
    state = (state * 48_271) % (2 ** 31 - 1)
    return state / (2 ** 31 - 1)
  }
  // The first numbers of small seeds are small.
  for (let skipped = 0; skipped < 3; skipped++) next()
  return next
}

function freshFolder(): string {
  const folder = join(scratch, String(serial++))
  mkdirSync(folder)
  return folder
}

/** Everything that was not flushed is lost, or nothing is. */
const CHOICES: Chance[] = [() => 0, () => 1]

/** Every prefix with each of the choices, then random ones of both. */
function* cuts(steps: readonly Step[]): Iterable<{ at: number; chance: Chance; name: string }> {
  for (let at = 0; at <= steps.length; at++) {
    for (const [index, choice] of CHOICES.entries()) {
      yield { at, chance: choice, name: `after step ${at}, choice ${index}` }
    }
  }
  for (let cut = 0; cut < RANDOM_CUTS; cut++) {
    const chance = chances(seed + cut)
    const at = Math.floor(chance() * (steps.length + 1))
    yield { at, chance, name: `after step ${at}, TEST_POLDER_SEED=${seed} cut ${cut}` }
  }
}

describe('the cluster folder', () => {
  /** What one call was to change, and between which steps of the disk it ran. */
  interface Call {
    key: string
    value: string | undefined
    begun: number
    acknowledged: number
  }

  const quiet = { warn: () => {}, info: () => {} }
  const open = (folder: string) => FolderStore.open({ ...RANGES, folder, log: quiet })
  const calls: Call[] = []
  let steps: Step[]

  /** Every change a polderd makes, made once. */
  beforeAll(async () => {
    const folder = freshFolder()
    using disk = await VolatileDisk.record(folder)
    const call = async (changes: Record<string, string | undefined>, work: () => Promise<unknown>) => {
      const begun = disk.steps.length
      await work()
      const acknowledged = disk.steps.length
      for (const [key, value] of Object.entries(changes)) calls.push({ key, value, begun, acknowledged })
    }
    const [first, second] = [await open(folder), await open(folder)]
    const pod = (name: string, namespace?: string) => first.get('Pod', name, namespace ?? 'default')!
    const lab = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'lab' } } as const
    const status = { phase: 'Running', podIP: '10.244.1.3', nodeName: 'n1' } as const
    const web = { kind: 'Pod', name: 'web', namespace: 'default' } as const
    await call({ 'range n1': '10.244.1.0/24' }, () => first.claimNode('n1'))
    await call({ 'range n2': '10.244.2.0/24' }, () => second.claimNode('n2'))
    await call({ 'namespace lab': 'Active' }, () => first.put({ ...lab, metadata: { ...lab.metadata } }))
    await call({ 'pod default/web': 'nginx' }, () => first.put(podNamed('web')))
    await call({ 'pod lab/db': 'mysql' }, () => second.put(podNamed('db', 'mysql', 'lab')))
    await call({ 'status default/web': 'n1 Pending' }, () => first.bind(pod('web'), 'n1'))
    await call({ 'pod default/web': 'httpd' }, () => first.put(podNamed('web', 'httpd')))
    await call({ 'status default/web': 'n1 Running' }, () => first.putPodStatus(pod('web'), status))
    await call({ 'pod lab/db': undefined }, () => first.delete({ kind: 'Pod', name: 'db', namespace: 'lab' }))
    await call({ 'namespace lab': undefined }, () => first.delete({ kind: 'Namespace', name: 'lab' }))
    await call({ 'pod default/web': undefined, 'status default/web': undefined }, () => first.delete(web))
    await call({ 'pod default/web': 'caddy' }, () => first.put(podNamed('web', 'caddy')))
    await call({ 'status default/web': 'n2 Pending' }, () => second.bind(pod('web'), 'n2'))
    await second.close()
    await call({ 'range n2': undefined }, () => first.delete({ kind: 'Node', name: 'n2' }))
    await call({ 'range n3': '10.244.2.0/24' }, () => first.claimNode('n3'))
    await first.close()
    steps = disk.steps
    // Nothing wrote past the recorder.
    expect(Object.fromEntries(leftAfter(steps, () => 1))).toEqual(Object.fromEntries(read(folder)))
  })

  /** The value that `key` had before the cut, and that of a call which the cut interrupted. */
  function allowed(key: string, at: number): (string | undefined)[] {
    const ofKey = calls.filter((call) => call.key === key && call.begun < at)
    const done = ofKey.filter((call) => call.acknowledged <= at).at(-1)
    return [done?.value, ...ofKey.filter((call) => call.acknowledged > at).map((call) => call.value)]
  }

  function observed(store: FolderStore, key: string): string | undefined {
    const [what, name = ''] = key.split(' ')
    const [namespace = '', podName = ''] = name.split('/')
    const pod = store.get('Pod', podName, namespace)
    if (what === 'pod') return pod?.spec.containers[0]?.image
    if (what === 'status') return pod?.status && `${pod.status.nodeName} ${pod.status.phase}`
    if (what === 'namespace') return store.get('Namespace', name)?.status?.phase
    return store.get('Node', name)?.spec.podCIDRs[0]
  }

  /** What is wrong after a cut; empty if nothing is. */
  async function wrongAfter(withSteps: readonly Step[], at: number, chance: Chance): Promise<string[]> {
    const folder = freshFolder()
    build(folder, leftAfter(withSteps.slice(0, at), chance))
    const wrong: string[] = []
    const store = await open(folder)
    for (const key of new Set(calls.map((call) => call.key))) {
      const value = observed(store, key)
      if (!allowed(key, at).includes(value)) wrong.push(`${key} is ${value}, not ${allowed(key, at).join(' or ')}`)
    }
    wrong.push(...store.problems().map(({ place, message }) => `${place}: ${message}`))
    const claim = async (name: string): Promise<string[]> => {
      const node = await store.claimNode(name).catch((error: Error) => void wrong.push(error.message))
      return node?.spec.podCIDRs ?? []
    }
    const ranges = await Promise.all(['n1', 'n2', 'n3', 'n4'].map(claim))
    if (new Set(ranges.flat()).size !== 8) wrong.push(`not every node has a range of its own: ${ranges.join(' ')}`)
    const [n1] = allowed('range n1', at)
    if (n1 !== undefined && ranges[0]?.[0] !== n1) wrong.push(`n1 had ${n1} and got ${ranges[0]?.[0]}`)
    await store.close()
    rmSync(folder, { recursive: true })
    return wrong
  }

  test('keeps what was acknowledged, and only that', { timeout: 600_000 }, async () => {
    let count = 0
    for (const { at, chance, name } of cuts(steps)) {
      expect(await wrongAfter(steps, at, chance), name).toEqual([])
      count++
    }
    console.log(`cluster folder: ${steps.length} steps, ${count} power cuts`)
  })

  test.each(['files', 'folders'])('would not if no %s were flushed', { timeout: 60_000 }, async (which) => {
    const files = new Set(steps.flatMap((step) => (step.do === 'write' ? [step.inode] : [])))
    const without = steps.map((step): Step => {
      const isLost = step.do === 'sync' && files.has(step.inode) === (which === 'files')
      return isLost ? { ...step, inode: -1 } : step
    })
    const found: string[] = []
    for (let cut = 0; cut < 100 && found.length === 0; cut++) {
      const chance = chances(cut)
      found.push(...(await wrongAfter(without, Math.floor(chance() * (steps.length + 1)), chance)))
    }
    expect(found.length).toBeGreaterThan(0)
  })
})

describe('attachment records', () => {
  interface Call {
    address: string
    /** Written or released. */
    isThere: boolean
    begun: number
    acknowledged: number
  }

  const RANGE = ['10.244.1.0/28', 'fd00:10:244:1::/64']
  const silent = pino({ level: 'silent' })
  const calls: Call[] = []
  let steps: Step[]

  const attachmentOf = (id: number, addresses: string[]): Attachment => ({
    ...{ containerId: `c${id}`, ifName: 'eth0', netns: `/run/netns/c${id}`, network: 'polder', viaCni: true },
    ...{ addresses, createdAt: new Date(id).toISOString(), bootId: 'boot-1' },
  })

  /** Pods come and go, on more addresses than there are. */
  beforeAll(async () => {
    const folder = freshFolder()
    using disk = await VolatileDisk.record(folder)
    const records = new AttachmentRecords(folder, 'boot-1', silent)
    records.load()
    const ipam = new Ipam({ ranges: RANGE, now: Date.now })
    const call = (address: string, isThere: boolean, work: () => void): void => {
      const begun = disk.steps.length
      work()
      calls.push({ address, isThere, begun, acknowledged: disk.steps.length })
    }
    const there: Attachment[] = []
    for (let id = 0; id < 40; id++) {
      const attachment = attachmentOf(id, ipam.allocate())
      call(attachment.addresses[0]!, true, () => records.write(attachment))
      there.push(attachment)
      if (there.length < 8) continue
      const [gone] = there.splice((id * 5) % 8, 1)
      call(gone!.addresses[0]!, false, () => records.release(gone!, Date.now()))
      ipam.release(gone!.addresses)
    }
    steps = disk.steps
    expect(Object.fromEntries(leftAfter(steps, () => 1))).toEqual(Object.fromEntries(read(folder)))
  })

  /** Its attachments, and the addresses that it then hands out to whoever comes. */
  function start(folder: string, bootId: string): { known: string[]; handedOut: string[]; log: string } {
    const log: string[] = []
    const records = new AttachmentRecords(folder, bootId, pino({}, { write: (line: string) => void log.push(line) }))
    const { attachments, resting, heldBack } = records.load()
    const ipam = new Ipam({ ranges: RANGE, now: Date.now })
    for (const each of resting) ipam.rest(each.addresses, each.releasedAtMs)
    ipam.reserve(heldBack)
    for (const { addresses } of attachments) ipam.reserve(addresses)
    const handedOut: string[] = []
    while (ipam.freeCount > 0) handedOut.push(ipam.allocate()[0]!)
    return { known: attachments.map(({ addresses }) => addresses[0]!), handedOut, log: log.join('') }
  }

  test('are all found after a kill at any step', () => {
    for (let at = 0; at <= steps.length; at++) {
      const folder = freshFolder()
      build(
        folder,
        leftAfter(steps.slice(0, at), () => 1),
      )
      const { known, handedOut } = start(folder, 'boot-1')
      expect(new Set([...known, ...handedOut]).size, `after step ${at}`).toBe(known.length + handedOut.length)
      for (const address of new Set(calls.map((call) => call.address))) {
        const begun = calls.filter((call) => call.address === address && call.begun < at)
        const values = [begun.findLast((call) => call.acknowledged <= at)?.isThere ?? false]
        if (begun.at(-1) !== undefined && begun.at(-1)!.acknowledged > at) values.push(begun.at(-1)!.isThere)
        expect(values, `${address} after step ${at}`).toContain(known.includes(address))
      }
      rmSync(folder, { recursive: true })
    }
  })

  test('are all forgotten after a power cut, torn or whole, and then work anew', () => {
    for (const { at, chance, name } of cuts(steps)) {
      const folder = freshFolder()
      build(folder, leftAfter(steps.slice(0, at), chance))
      expect(start(folder, 'boot-2'), name).toMatchObject({ known: [], handedOut: { length: 12 } })
      new AttachmentRecords(folder, 'boot-2', silent).write(attachmentOf(1, ['10.244.1.9']))
      expect(start(folder, 'boot-2').known, name).toEqual(['10.244.1.9'])
      rmSync(folder, { recursive: true })
    }
  })

  test('that somebody damaged are set aside, with a word, and their addresses stay taken', () => {
    const folder = freshFolder()
    const records = new AttachmentRecords(folder, 'boot-1', silent)
    records.write(attachmentOf(1, ['10.244.1.3']))
    records.write(attachmentOf(2, ['10.244.1.4']))
    const path = join(folder, 'attachments', 'c1@eth0.json')
    writeFileSync(path, readFileSync(path, 'utf8').slice(0, -20))
    for (let time = 0; time < 2; time++) {
      const { known, handedOut, log } = start(folder, 'boot-1')
      expect(known).toEqual(['10.244.1.4'])
      expect(handedOut).not.toContain('10.244.1.3')
      if (time === 0) expect(log).toContain('its addresses stay taken')
    }
    expect(readdirSync(join(folder, 'attachments')).sort()).toEqual(['c1@eth0.json.broken', 'c2@eth0.json'])
    expect(start(folder, 'boot-2').handedOut).toContain('10.244.1.3')
    expect(readdirSync(join(folder, 'attachments'))).toEqual([])
  })

  test('that contradict each other: the younger one counts', () => {
    const folder = freshFolder()
    const records = new AttachmentRecords(folder, 'boot-1', silent)
    records.write(attachmentOf(1, ['10.244.1.3']))
    records.write(attachmentOf(2, ['10.244.1.3']))
    expect(start(folder, 'boot-1').known).toEqual(['10.244.1.3'])
    expect(readdirSync(join(folder, 'attachments')).sort()).toEqual(['c1@eth0.json.broken', 'c2@eth0.json'])
  })
})
