/**
 * Pod ranges: claimed by real processes at once without a clash, kept over restarts and crashes, freed with the node.
 */
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { RangePlan } from '../../daemon/cluster/folder/range-plan.ts'
import type { Node } from '../../daemon/cluster/objects.ts'
import { parseCidr, subnet } from '../../daemon/config/cidr.ts'
import { ClusterFolder, podNamed, until } from '../support/cluster-folder.ts'

let folder: ClusterFolder
beforeEach(() => {
  folder = new ClusterFolder()
})
afterEach(() => folder.remove())

const nodeText = (name: string, ranges: string) =>
  `apiVersion: v1\nkind: Node\nmetadata: {name: ${name}}\nspec: {podCIDRs: ${ranges}}\n`
const rangesOf = (node: Node) => node.spec.podCIDRs
const claims = () => readdirSync(join(folder.path, 'ranges')).sort()
const nodeKey = (name: string) => ({ kind: 'Node', name }) as const

describe('between processes', () => {
  test('20 claim at once and want the same pod: each has a range of its own, exactly one has the pod', async () => {
    const store = await folder.open()
    await store.put(podNamed('web'))
    const names = Array.from({ length: 20 }, (_, index) => `node${index}`)
    const processes = await Promise.all(names.map((name) => folder.run(name, 'web')))
    const numbers = processes.map(({ ranges: [v4 = '', v6 = ''] }) => {
      const number = Number(v4.match(/^10\.244\.(\d+)\.0\/24$/)?.[1])
      expect(parseCidr(v6)).toEqual(subnet(parseCidr('fd00:10:244::/48'), 64, number))
      return number
    })
    expect(numbers.toSorted((one, other) => one - other)).toEqual(names.map((_, index) => index + 1))
    const winners = names.filter((_, index) => processes[index]!.bound)
    expect(winners).toHaveLength(1)
    await until(() => store.get('Pod', 'web', 'default')?.status?.nodeName === winners[0])
    await until(() => store.list('Node').length === 20)
    expect(store.problems()).toEqual([])
  }, 60_000)

  test('a second live process of one name is refused; after a kill -9 the range is the same', async () => {
    const first = await folder.run('alpha')
    expect(first.ranges).toEqual(['10.244.1.0/24', 'fd00:10:244:1::/64'])
    const store = await folder.open()
    await expect(store.claimNode('alpha')).rejects.toMatchObject({
      code: 'node-name-taken',
      message: expect.stringContaining(`process ${first.pid}, runs as node alpha`),
      remedy: expect.stringContaining('--node-name'),
    })
    await expect(store.delete(nodeKey('alpha'))).rejects.toMatchObject({
      code: 'node-alive',
      message: expect.stringContaining(`process ${first.pid}`),
    })
    await first.end('SIGKILL')
    expect(rangesOf(await store.claimNode('alpha'))).toEqual(first.ranges)
  }, 30_000)

  test('a living node whose file is removed by hand puts it back and keeps its range', async () => {
    await folder.run('alpha')
    const store = await folder.open()
    const { uid } = store.get('Node', 'alpha')!.metadata
    const path = join(folder.path, 'nodes/alpha.yaml')
    rmSync(path)
    await until(() => existsSync(path))
    await until(() => store.get('Node', 'alpha') !== undefined)
    expect(store.get('Node', 'alpha')).toMatchObject({
      metadata: { uid },
      spec: { podCIDRs: ['10.244.1.0/24', 'fd00:10:244:1::/64'] },
    })
    expect(rangesOf(await store.claimNode('beta'))[0]).toBe('10.244.2.0/24')
  }, 30_000)
})

describe('ranges', () => {
  test('are freed when the node is deleted, by command or by hand, and not before', async () => {
    const store = await folder.open()
    const alpha = await folder.open()
    await alpha.claimNode('alpha')
    await store.claimNode('beta')
    await alpha.close()
    expect(rangesOf(await store.claimNode('gamma'))[0]).toBe('10.244.3.0/24')
    expect(await store.delete(nodeKey('alpha'))).toBe(true)
    expect(claims()).toEqual(['2.yaml', '3.yaml'])
    expect(existsSync(join(folder.path, 'nodes/.alpha.lock'))).toBe(false)
    expect(rangesOf(await store.claimNode('delta'))[0]).toBe('10.244.1.0/24')
    await store.close()
    const next = await folder.open()
    rmSync(join(folder.path, 'nodes/beta.yaml'))
    await until(() => !claims().includes('2.yaml'))
    expect(rangesOf(await next.claimNode('epsilon'))[0]).toBe('10.244.2.0/24')
  })

  test('a claim whose process died before its Node object was there is freed', async () => {
    folder.write('ranges/1.yaml', 'node: ghost\n')
    const store = await folder.open()
    expect(claims()).toEqual([])
    expect(rangesOf(await store.claimNode('alpha'))[0]).toBe('10.244.1.0/24')
    expect(readFileSync(join(folder.path, 'ranges/1.yaml'), 'utf8')).toContain('node: alpha')
  })

  test('a claim that cannot be read is left alone and told of', async () => {
    folder.write('ranges/1.yaml', '')
    const store = await folder.open()
    expect(rangesOf(await store.claimNode('alpha'))[0]).toBe('10.244.2.0/24')
    expect(store.problems()).toEqual([
      { place: join(folder.path, 'ranges/1.yaml'), message: expect.stringContaining('remove the file') },
    ])
  })

  test('run out: number 0 comes last, then an error that says what to do', async () => {
    const store = await folder.open({ podCIDRs: ['10.244.0.0/22'], nodeMaskSizeIPv4: 24 })
    const seen: string[] = []
    for (const name of ['a', 'b', 'c', 'd']) seen.push(...rangesOf(await store.claimNode(name)))
    expect(seen).toEqual(['10.244.1.0/24', '10.244.2.0/24', '10.244.3.0/24', '10.244.0.0/24'])
    await expect(store.claimNode('e')).rejects.toMatchObject({
      code: 'no-range-left',
      message: expect.stringContaining('All 4 pod ranges'),
      remedy: expect.stringContaining('polder delete node'),
    })
    expect(existsSync(join(folder.path, 'nodes/e.yaml'))).toBe(false)
  })
})

describe('a Node written by hand', () => {
  test('is followed, and its range is nobody else’s', async () => {
    folder.write('nodes/alpha.yaml', nodeText('alpha', '[10.244.1.0/24, "fd00:10:244:1::/64"]'))
    folder.write('nodes/foreign.yaml', nodeText('foreign', '[10.244.2.128/25]'))
    const store = await folder.open()
    expect(rangesOf(await store.claimNode('beta'))[0]).toBe('10.244.3.0/24')
    expect(rangesOf(await store.claimNode('alpha'))).toEqual(['10.244.1.0/24', 'fd00:10:244:1::/64'])
    expect(claims()).toEqual(['1.yaml', '3.yaml'])
  })

  test('that lists no range gets one, and keeps what else it says', async () => {
    folder.write('nodes/alpha.yaml', 'apiVersion: v1\nkind: Node\nmetadata: {name: alpha, labels: {rack: a}}\n')
    const store = await folder.open()
    const node = await store.claimNode('alpha')
    expect(node).toMatchObject({
      metadata: { labels: { rack: 'a' } },
      spec: { podCIDRs: ['10.244.1.0/24', 'fd00:10:244:1::/64'] },
    })
    await store.put({ ...node, metadata: { name: 'alpha', labels: { rack: 'b' } }, spec: { podCIDRs: [] } })
    expect(store.get('Node', 'alpha')!.spec).toEqual(node.spec)
  })

  test('that moves to another range leaves the old one', async () => {
    const before = await folder.open()
    await before.claimNode('alpha')
    await before.close()
    folder.write('nodes/alpha.yaml', nodeText('alpha', '[10.244.9.0/24, "fd00:10:244:9::/64"]'))
    const store = await folder.open()
    expect(rangesOf(await store.claimNode('alpha'))[0]).toBe('10.244.9.0/24')
    expect(claims()).toEqual(['9.yaml'])
  })

  test('that overlaps with another is refused, naming both', async () => {
    const store = await folder.open()
    await store.claimNode('alpha')
    folder.write('nodes/beta.yaml', nodeText('beta', '[10.244.1.128/25]'))
    await expect(store.claimNode('beta')).rejects.toMatchObject({
      code: 'range-taken',
      message: 'Pod range 10.244.1.128/25 of node beta overlaps with 10.244.1.0/24 of node alpha.',
    })
    expect(store.problems()[0]?.message).toContain('10.244.1.128/25 overlaps with 10.244.1.0/24 of node alpha')
    const put = store.put({
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: 'gamma' },
      spec: { podCIDRs: ['10.244.0.0/20'] },
    })
    await expect(put).rejects.toMatchObject({ code: 'range-taken' })
  })

  test('outside the cluster, or broken, is refused', async () => {
    const store = await folder.open()
    folder.write('nodes/alpha.yaml', nodeText('alpha', '[192.0.2.0/24]'))
    await expect(store.claimNode('alpha')).rejects.toMatchObject({ code: 'range-outside' })
    folder.write('nodes/beta.yaml', 'kind: [')
    await expect(store.claimNode('beta')).rejects.toMatchObject({
      code: 'bad-file',
      remedy: expect.stringContaining('beta.yaml'),
    })
    expect(readFileSync(join(folder.path, 'nodes/beta.yaml'), 'utf8')).toBe('kind: [')
    rmSync(join(folder.path, 'nodes/beta.yaml'))
    expect(rangesOf(await store.claimNode('beta'))[0]).toBe('10.244.1.0/24')
  })
})

test('a plan: number -> ranges -> number, and never two that overlap', () => {
  const prefix = fc.record({ pool4: fc.integer({ min: 8, max: 24 }), pool6: fc.integer({ min: 32, max: 96 }) })
  fc.assert(
    fc.property(
      prefix,
      fc.integer({ min: 1, max: 6 }),
      fc.integer({ min: 1, max: 16 }),
      fc.nat(),
      (pools, more4, more6, pick) => {
        const plan = new RangePlan({
          podCIDRs: [`10.0.0.0/${pools.pool4}`, `fd00::/${pools.pool6}`],
          nodeMaskSizeIPv4: pools.pool4 + more4,
          nodeMaskSizeIPv6: pools.pool6 + more6,
        })
        expect(plan.count).toBe(2 ** Math.min(more4, more6))
        const number = pick % plan.count
        const ranges = plan.range(number)
        expect(ranges.every((range) => plan.covers(range))).toBe(true)
        expect(plan.numberOf(ranges)).toBe(number)
        expect(plan.numberOf(ranges.toReversed())).toBe(number)
        expect(plan.numberOf(plan.range((number + 1) % plan.count))).toBe((number + 1) % plan.count)
        expect(plan.numberOf([ranges[0]!])).toBeUndefined()
      },
    ),
  )
})
