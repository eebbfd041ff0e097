/** The pure parts of the runner: back-off, phases, statuses, what containerd is asked for, DNS, log entries. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { PodSpec } from '../../daemon/cluster/objects.ts'
import { BackOff } from '../../daemon/runner/cri/back-off.ts'
import { CONTAINER_CREATED, CONTAINER_EXITED, CONTAINER_RUNNING } from '../../daemon/runner/cri/client.ts'
import { LogEntries, tailStart } from '../../daemon/runner/cri/logs.ts'
import * as config from '../../daemon/runner/cri/pod-config.ts'
import { type ContainerView, podPhase, podStatus } from '../../daemon/runner/cri/pod-status.ts'
import { podDnsConfig } from '../../daemon/runner/cri/resolv-conf.ts'
import { podOf } from '../support/pods.ts'

const FACTS = { nodeName: 'n1', hostIPs: ['192.0.2.1'], logRoot: '/var/log/pods' }

test('back-off: at once, then doubling up to the longest, forgotten after ten quiet minutes', () => {
  const backOff = new BackOff(10_000, 300_000)
  const waits: number[] = []
  let nowMs = 0
  for (let round = 0; round < 8; round++) {
    const waitMs = backOff.remainingMs('uid/c', nowMs, nowMs)
    waits.push(waitMs / 1000)
    nowMs += waitMs
    backOff.tried('uid/c', nowMs)
  }
  expect(waits).toEqual([0, 10, 20, 40, 80, 160, 300, 300])
  expect(backOff.remainingMs('uid/c', nowMs + 600_001, nowMs + 600_001)).toBe(0)
  backOff.tried('uid/c', nowMs + 600_001)
  expect(backOff.delayMs('uid/c')).toBe(10_000)
  // The clock was set back by a day.
  expect(backOff.remainingMs('uid/c', nowMs + 600_001, nowMs - 86_400_000)).toBe(0)
  backOff.forget('uid/')
  expect(backOff.remainingMs('uid/c', nowMs, nowMs)).toBe(0)
})

function view(state?: number, exitCode = 0): ContainerView {
  const base: ContainerView = { name: 'c', image: 'i', restartCount: 0 }
  if (state === undefined) return base
  const times = {
    started_at: '1769860800000000000',
    finished_at: state === CONTAINER_EXITED ? '1769860801000000000' : '0',
  }
  return { ...base, current: { id: 'x', state, exit_code: exitCode, reason: '', message: '', log_path: '', ...times } }
}

test.each<[string, NonNullable<PodSpec['restartPolicy']>, ContainerView[], string]>([
  ['nothing started', 'Always', [view()], 'Pending'],
  ['one of two started', 'Always', [view(CONTAINER_RUNNING), view()], 'Pending'],
  ['created only', 'Always', [view(CONTAINER_CREATED)], 'Pending'],
  ['all run', 'Never', [view(CONTAINER_RUNNING), view(CONTAINER_RUNNING)], 'Running'],
  ['one ended, one runs', 'Never', [view(CONTAINER_EXITED), view(CONTAINER_RUNNING)], 'Running'],
  ['ended, to be restarted', 'Always', [view(CONTAINER_EXITED)], 'Running'],
  ['ended well', 'Never', [view(CONTAINER_EXITED), view(CONTAINER_EXITED)], 'Succeeded'],
  ['ended well', 'OnFailure', [view(CONTAINER_EXITED)], 'Succeeded'],
  ['one ended badly', 'Never', [view(CONTAINER_EXITED), view(CONTAINER_EXITED, 1)], 'Failed'],
  ['ended badly, to be restarted', 'OnFailure', [view(CONTAINER_EXITED, 1)], 'Running'],
])('phase: %s, %s', (_name, restartPolicy, views, phase) => {
  expect(podPhase(podOf('p', [{}], { restartPolicy }), views)).toBe(phase)
})

test('a condition keeps its time until it changes', () => {
  const pod = podOf('p', [{}])
  const of = (container: ContainerView) => ({ containers: [container], podIPs: ['10.244.0.4'], nodeName: 'n1' })
  const first = podStatus(pod, of(view()), 1_000)
  const same = podStatus({ ...pod, status: first }, of(view()), 9_000)
  expect(same).toEqual(first)
  const ready = podStatus({ ...pod, status: first }, of(view(CONTAINER_RUNNING)), 9_000)
  const times = ready.conditions!.map(({ type, status, lastTransitionTime }) => [type, status, lastTransitionTime])
  const [old, fresh] = [new Date(1_000).toISOString(), new Date(9_000).toISOString()]
  expect(times).toEqual([
    ['Initialized', 'True', old],
    ['Ready', 'True', fresh],
    ['ContainersReady', 'True', fresh],
    ['PodScheduled', 'True', old],
  ])
  expect(ready.startTime).toBe(old)
})

describe('hashes', () => {
  const pod = podOf('p', [{ command: ['a'], env: [{ name: 'A', value: '1' }] }])
  const [container] = pod.spec.containers as [(typeof pod.spec.containers)[0]]

  test('the order of keys is of no matter, every value is', () => {
    const reordered = Object.fromEntries(Object.entries(container).reverse()) as unknown as typeof container
    expect(config.containerHash(pod, reordered)).toBe(config.containerHash(pod, container))
    for (const change of [{ image: 'other' }, { command: ['b'] }, { env: [{ name: 'A', value: '2' }] }])
      expect(config.containerHash(pod, { ...container, ...change })).not.toBe(config.containerHash(pod, container))
  })

  test('another sandbox means other containers; labels mean nothing', () => {
    const host = { ...pod, spec: { ...pod.spec, hostNetwork: true } }
    expect(config.sandboxHash(host)).not.toBe(config.sandboxHash(pod))
    expect(config.containerHash(host, container)).not.toBe(config.containerHash(pod, container))
    const labelled = { ...pod, metadata: { ...pod.metadata, labels: { a: 'b' } } }
    expect(config.sandboxHash(labelled)).toBe(config.sandboxHash(pod))
  })

  test('polder’s own labels win over those of a manifest', () => {
    const sly = { ...pod, metadata: { ...pod.metadata, labels: { [config.LABEL_POD_NAME]: 'other', app: 'web' } } }
    expect(config.sandboxConfig(sly, 0, FACTS).labels).toMatchObject({ [config.LABEL_POD_NAME]: 'p', app: 'web' })
  })

  test('a long pod name makes a valid host name', () => {
    const { hostname } = config.sandboxConfig(podOf(`${'x'.repeat(62)}-yyy`, [{}]), 0, FACTS)
    expect(hostname).toBe('x'.repeat(62))
  })
})

test('DNS: the servers behind a loopback stub, else the node’s own file', () => {
  const folder = mkdtempSync(join(tmpdir(), 'polder-t'))
  const file = (name: string, text: string) => {
    writeFileSync(join(folder, name), text)
    return join(folder, name)
  }
  const stub = file('stub', 'nameserver 127.0.0.53\noptions edns0\n')
  const upstream = file(
    'upstream',
    '# made\nnameserver 192.0.2.53\nnameserver 2001:db8::53\nsearch a.example b.example\n',
  )
  const plain = file('plain', 'nameserver 192.0.2.1\n')
  expect(podDnsConfig(plain, upstream)).toBeUndefined()
  expect(podDnsConfig(stub, join(folder, 'absent'))).toBeUndefined()
  expect(podDnsConfig(stub, upstream)).toEqual({
    servers: ['192.0.2.53', '2001:db8::53'],
    searches: ['a.example', 'b.example'],
    options: [],
  })
  rmSync(folder, { recursive: true })
})

describe('log entries', () => {
  const TIME = '2026-01-31T12:00:00.000000001Z'
  /** What a container wrote, in pieces as a runtime cuts them. */
  const pieces = fc.array(fc.tuple(fc.stringMatching(/^[ -~äß]*$/), fc.boolean(), fc.constantFrom('stdout', 'stderr')))

  test('say what was written, however the file is cut', () => {
    fc.assert(
      fc.property(pieces, fc.integer({ min: 1, max: 40 }), (written, blockBytes) => {
        const file = Buffer.from(
          written.map(([text, whole, stream]) => `${TIME} ${stream} ${whole ? 'F' : 'P'} ${text}\n`).join(''),
        )
        const entries = new LogEntries(false)
        let said = ''
        const parts: Buffer[] = []
        for (let at = 0; at < file.length; at += blockBytes)
          parts.push(entries.take(file.subarray(at, at + blockBytes)))
        said = Buffer.concat(parts).toString('utf8')
        expect(said).toBe(written.map(([text, whole]) => text + (whole ? '\n' : '')).join(''))
      }),
    )
  })

  test('a time stands once, before the line', () => {
    const file = `${TIME} stdout P be\n${TIME} stdout P gi\n${TIME} stdout F n\n${TIME} stderr F x\n`
    expect(new LogEntries(true).take(Buffer.from(file)).toString()).toBe(`${TIME} begin\n${TIME} x\n`)
  })

  test('the tail begins where the last lines begin', async () => {
    const path = join(mkdtempSync(join(tmpdir(), 'polder-t')), 'log')
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom('', 'x', 'y'.repeat(70_000)), { maxLength: 6 }),
        fc.boolean(),
        fc.nat(8),
        async (lines, ended, tail) => {
          const text = lines.map((line) => `${line}\n`).join('') + (ended ? '' : 'rest')
          writeFileSync(path, text)
          const file = await open(path)
          const { position: start } = await tailStart(file, tail)
          await file.close()
          const all = text.split(/(?<=\n)/).filter((line) => line !== '')
          expect(text.slice(start)).toBe(tail === 0 ? '' : all.slice(-tail).join(''))
        },
      ),
      { numRuns: 50 },
    )
  })
})
