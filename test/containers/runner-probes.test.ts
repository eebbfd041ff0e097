/**
 * Probes in real containers, on a real containerd: what becomes of the pod's status, what is restarted, and what another
 * polderd believes. Probes over the network: test/containers/services.test.ts, where polderd and pods share one.
 */
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Pod, PodStatus } from '../../daemon/cluster/objects.ts'
import { CriRuntime } from '../../daemon/runner/cri/cri-runtime.ts'
import { startContainerd, type TestContainerd, until } from '../support/containerd.ts'
import { execIn, forever, podOf } from '../support/pods.ts'

let containerd: TestContainerd
let runtime: CriRuntime
const news: string[] = []

function openRuntime(): CriRuntime {
  const { folder, socket } = containerd
  const facts = { nodeName: 'node1', hostIPs: ['192.0.2.1'], logRoot: `${folder}/logs` }
  const onNews = ({ uid, container, message }: { uid: string; container: string; message: string }) =>
    news.push(`${uid} ${container}: ${message}`)
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

/** Asks again and again, as the reconciler does, handing on what was last said, until the pod is as expected. */
async function ensureUntil(pod: Pod, isThere: (status: PodStatus) => boolean, on = runtime): Promise<PodStatus> {
  return await until(`pod ${pod.metadata.name}`, async () => {
    const status = await on.ensure(pod)
    pod.status = status
    if (!isThere(status)) throw new Error(JSON.stringify(status))
    return status
  })
}

const conditionOf = (status: PodStatus, type: string) =>
  status.conditions!.find((condition) => condition.type === type)!
const isReady = (status: PodStatus) => conditionOf(status, 'Ready').status === 'True'
const runs = (status: PodStatus) => status.containerStatuses![0]!.state.running !== undefined
const often = { periodSeconds: 1, failureThreshold: 1 }

test('ready while its probe passes; the conditions say since when, and why not', async () => {
  const command = ['test', '-e', '/ok']
  const pod = podOf('web', [{ ...forever(), readinessProbe: { ...often, exec: { command } } }])
  const unready = await ensureUntil(pod, (status) => /exit code 1/.test(conditionOf(status, 'Ready').message ?? ''))
  expect(unready).toMatchObject({ phase: 'Running', containerStatuses: [{ ready: false, state: { running: {} } }] })
  const why = 'its readiness probe failed: test ended with exit code 1'
  const message = `containers with unready status: [c0]; c0: ${why}`
  for (const type of ['Ready', 'ContainersReady']) {
    expect(conditionOf(unready, type)).toMatchObject({ status: 'False', reason: 'ContainersNotReady', message })
  }
  await execIn(runtime, pod, ['touch', '/ok'])
  const before = await runtime.list()
  const ready = await ensureUntil(pod, isReady)
  expect(await runtime.list()).not.toEqual(before)
  expect(ready.containerStatuses).toMatchObject([{ ready: true, restartCount: 0 }])
  const since = conditionOf(ready, 'Ready').lastTransitionTime!
  expect(since > conditionOf(unready, 'Ready').lastTransitionTime!).toBe(true)
  expect(news.at(-1)).toBe('uid-of-web c0: it is ready')

  // Another polderd, while the file is gone: ready as it was, until its own probe has failed.
  runtime.pause()
  await execIn(runtime, pod, ['rm', '/ok'])
  const patient = structuredClone(pod)
  patient.spec.containers[0]!.readinessProbe!.failureThreshold = 2
  const successor = openRuntime()
  const found = await successor.ensure(patient)
  expect(conditionOf(found, 'Ready')).toMatchObject({ status: 'True', lastTransitionTime: since })
  await ensureUntil(patient, (status) => !isReady(status), successor)
  successor.close()
  runtime.resume()
  await ensureUntil(pod, (status) => !isReady(status))
  // What is not ready is not restarted.
  expect(pod.status!.containerStatuses![0]!.restartCount).toBe(0)
})

test('an exec probe that takes too long has failed, and leaves nothing running', async () => {
  const pod = podOf('slow', [{ ...forever(), readinessProbe: { ...often, exec: { command: ['sleep', '1234'] } } }])
  await ensureUntil(pod, (status) => /longer than 1000 ms/.test(conditionOf(status, 'Ready').message ?? ''))
  pod.spec.containers[0]!.readinessProbe = { exec: { command: ['true'] } }
  await ensureUntil(pod, isReady)
  await until('no sleep left', async () => {
    expect((await execIn(runtime, pod, ['ps'])).stdout).not.toMatch(/sleep 1234/)
  })
})

test('a failed liveness probe restarts the container; before it comes the startup probe', async () => {
  const pod = podOf('alive', [
    {
      ...forever('touch /ok'),
      startupProbe: { periodSeconds: 1, failureThreshold: 60, exec: { command: ['test', '-e', '/started'] } },
      livenessProbe: { ...often, exec: { command: ['test', '-e', '/ok'] } },
    },
  ])
  const starting = await ensureUntil(pod, (status) => runs(status) && !isReady(status))
  expect(conditionOf(starting, 'Ready').message).toMatch(/its startup probe/)
  await execIn(runtime, pod, ['touch', '/started'])
  const { containerStatuses } = await ensureUntil(pod, isReady)
  await execIn(runtime, pod, ['rm', '/ok'])
  await ensureUntil(pod, (status) => runs(status) && status.containerStatuses![0]!.restartCount === 1)
  expect(pod.status!.containerStatuses![0]!.containerID).not.toBe(containerStatuses![0]!.containerID)
  expect(news).toContain('uid-of-alive c0: its liveness probe failed: test ended with exit code 1')
})
