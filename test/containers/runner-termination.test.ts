/**
 * How pods end, on a real containerd: preStop hooks, SIGTERM, the deadline and SIGKILL; a deadline that comes nearer; what
 * the next polderd makes of it; and what is said of the pod meanwhile.
 */
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { deleted, hastened } from '../../daemon/cluster/deletion.ts'
import type { Pod, PodStatus } from '../../daemon/cluster/objects.ts'
import { CriRuntime } from '../../daemon/runner/cri/cri-runtime.ts'
import { startContainerd, type TestContainerd, until } from '../support/containerd.ts'
import { podOf } from '../support/pods.ts'

let containerd: TestContainerd
let runtime: CriRuntime
const news: string[] = []

function openRuntime(): CriRuntime {
  const { folder, socket } = containerd
  const facts = { nodeName: 'node1', hostIPs: ['192.0.2.1'], logRoot: `${folder}/logs` }
  const onNews = ({ container, message }: { container: string; message: string }) =>
    news.push(`${container}: ${message}`)
  return new CriRuntime({ containerdSocket: socket, execDir: `${folder}/exec`, facts, onNews })
}

beforeAll(async () => {
  containerd = await startContainerd()
  runtime = openRuntime()
})

afterAll(async () => {
  for (const held of await runtime.list()) await runtime.remove(held)
  runtime.close()
  await containerd.stop()
})

async function running(pod: Pod): Promise<Pod> {
  await until(`pod ${pod.metadata.name}`, async () => {
    pod.status = await runtime.ensure(pod)
    if (!pod.status.containerStatuses?.every(({ ready }) => ready)) throw new Error(JSON.stringify(pod.status))
  })
  return pod
}

/** Says what happens to it: `term` at SIGTERM, after which it goes on for `stubbornSeconds`. */
const talker = (stubbornSeconds: number) => [
  'sh',
  '-c',
  `trap 'echo term; sleep ${stubbornSeconds}; echo end; exit 0' TERM; echo start; while :; do sleep 0.1; done`,
]

/** Lines of the container's log, each with its moment. */
function logOf({ metadata }: Pod, container = 'c0'): { line: string; atMs: number }[] {
  const path = `${containerd.folder}/logs/default_${metadata.name}_${metadata.uid}/${container}/0.log`
  const lines = readFileSync(path, 'utf8').trim().split('\n')
  return lines.map((text) => ({ line: text.split(' ').slice(3).join(' '), atMs: Date.parse(text.split(' ')[0]!) }))
}
const linesOf = (pod: Pod) => logOf(pod).map(({ line }) => line)
const momentOf = (pod: Pod, line: string) => logOf(pod).find((entry) => entry.line === line)!.atMs
const toLog = (line: string) => ({ exec: { command: ['sh', '-c', `echo ${line} > /proc/1/fd/1`] } })

async function terminate(pod: Pod, on = runtime): Promise<{ tookMs: number; reports: PodStatus[] }> {
  const reports: PodStatus[] = []
  const start = Date.now()
  await on.terminate(pod, (status) => reports.push(status))
  return { tookMs: Date.now() - start, reports }
}

const remove = (pod: Pod) => runtime.remove({ namespace: 'default', name: pod.metadata.name })

test('the hook comes first, then SIGTERM; the pod has its addresses until it is removed', async () => {
  const pod = await running(podOf('polite', [{ command: talker(0), lifecycle: { preStop: toLog('hook') } }]))
  const { reports } = await terminate(deleted(pod, Date.now(), 30))
  expect(linesOf(pod)).toEqual(['start', 'hook', 'term', 'end'])
  expect(reports.at(-1)).toMatchObject({
    podIPs: pod.status!.podIPs,
    containerStatuses: [{ ready: false, state: { terminated: { exitCode: 0 } } }],
  })
  expect(reports.at(-1)!.conditions!.find(({ type }) => type === 'Ready')!.status).toBe('False')
  await remove(pod)
  expect(await runtime.list()).toEqual([])
})

test('a sleep takes its time, within the grace period', async () => {
  const pod = await running(
    podOf('sleeper', [{ command: talker(0), lifecycle: { preStop: { sleep: { seconds: 2 } } } }]),
  )
  const start = Date.now()
  await terminate(deleted(pod, start, 30))
  expect(momentOf(pod, 'term') - start).toBeGreaterThanOrEqual(1900)
  await remove(pod)
})

test('at the deadline it is killed, in the middle of its hook or of its own end', async () => {
  const hung = await running(
    podOf('hung', [{ command: talker(0), lifecycle: { preStop: { sleep: { seconds: 600 } } } }]),
  )
  const stubborn = await running(podOf('stubborn', [{ command: talker(600) }]))
  const [first, second] = await Promise.all([
    terminate(deleted(hung, Date.now(), 1)),
    terminate(deleted(stubborn, Date.now(), 2)),
  ])
  expect(first.tookMs).toBeGreaterThanOrEqual(990)
  expect(second.tookMs).toBeGreaterThanOrEqual(1990)
  expect(linesOf(stubborn)).toEqual(['start', 'term'])
  const [{ state }] = second.reports.at(-1)!.containerStatuses as [NonNullable<PodStatus['containerStatuses']>[0]]
  expect(state.terminated?.exitCode).toBe(137)
  await Promise.all([remove(hung), remove(stubborn)])
})

test('without grace there is no hook, and no SIGTERM', async () => {
  const pod = await running(podOf('killed', [{ command: talker(600), lifecycle: { preStop: toLog('hook') } }]))
  await terminate(deleted(pod, Date.now(), 0))
  expect(linesOf(pod)).toEqual(['start'])
  await remove(pod)
})

test('deleted again, its deadline comes nearer', async () => {
  const pod = await running(podOf('again', [{ command: talker(600) }]))
  const ending = deleted(pod, Date.now(), 600)
  const end = terminate(ending)
  await until('SIGTERM', async () => expect(linesOf(pod)).toContain('term'))
  await runtime.terminate(hastened(ending, 0), () => {})
  await end
  expect(linesOf(pod)).toEqual(['start', 'term'])
  await remove(pod)
})

test('another polderd goes on with what is left of the time', async () => {
  const hook = { preStop: { sleep: { seconds: 4 } } }
  const pod = await running(podOf('orphan', [{ command: talker(600), lifecycle: hook }]))
  const start = Date.now()
  const ending = deleted(pod, start, 7)
  const first = openRuntime()
  void terminate(ending, first).catch(() => {})
  await new Promise((resolve) => setTimeout(resolve, 2000))
  first.close()
  await terminate(ending)
  // The sleep was not begun anew, nor the grace period.
  const sleptMs = momentOf(pod, 'term') - start
  expect(sleptMs).toBeGreaterThanOrEqual(3900)
  expect(sleptMs).toBeLessThan(6000)
  expect(Date.now() - start).toBeGreaterThanOrEqual(6990)
  await remove(pod)
})

test('a hook that fails is told, and changes nothing', async () => {
  const command = ['sh', '-c', 'echo no >&2; exit 3']
  const pod = await running(podOf('failing', [{ command: talker(0), lifecycle: { preStop: { exec: { command } } } }]))
  await terminate(deleted(pod, Date.now(), 30))
  expect(linesOf(pod)).toEqual(['start', 'term', 'end'])
  expect(news.at(-1)).toBe('c0: its preStop hook failed: sh ended with exit code 3: no')
  await remove(pod)
})

test('readiness is asked for until the end: a pod may say that it serves no longer', async () => {
  const pod = podOf('draining', [
    {
      command: ['sh', '-c', `touch /ok; trap 'exit 0' TERM; while :; do sleep 0.1; done`],
      readinessProbe: { periodSeconds: 1, failureThreshold: 1, exec: { command: ['test', '-e', '/ok'] } },
      livenessProbe: { periodSeconds: 1, failureThreshold: 1, exec: { command: ['test', '-e', '/ok'] } },
      lifecycle: { preStop: { exec: { command: ['sh', '-c', 'sleep 1; rm /ok; sleep 3'] } } },
    },
  ])
  await running(pod)
  const { reports } = await terminate(deleted(pod, Date.now(), 30))
  const states = reports.map(({ containerStatuses }) => [containerStatuses![0]!.ready, containerStatuses![0]!.state])
  expect(states).toContainEqual([false, { running: expect.anything() }])
  expect(reports.at(-1)!.containerStatuses![0]!.restartCount).toBe(0)
  await remove(pod)
})
