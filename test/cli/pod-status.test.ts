/** The STATUS column, case by case as kubectl shows it. */
import { expect, test } from 'vitest'
import { summarizePod } from '../../cli/pod-status.ts'
import type { ContainerStatus, Pod, PodPhase } from '../../daemon/cluster/objects.ts'

type State = ContainerStatus['state']

const RUNNING: State = { running: { startedAt: '2026-01-31T12:00:00Z' } }
const COMPLETED: State = { terminated: { exitCode: 0, reason: 'Completed' } }
const waiting = (reason: string): State => ({ waiting: { reason } })

function pod(phase: PodPhase | undefined, states: State[], extra: { reason?: string; ready?: boolean } = {}): Pod {
  const containerStatuses = states.map((state, index) => ({
    name: `c${index}`,
    image: 'busybox',
    ready: state.running !== undefined,
    restartCount: index,
    state,
  }))
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'a', namespace: 'default' },
    spec: { containers: states.map((_, index) => ({ name: `c${index}`, image: 'busybox' })) },
    ...(phase === undefined
      ? {}
      : {
          status: {
            phase,
            containerStatuses,
            ...(extra.reason === undefined ? {} : { reason: extra.reason }),
            conditions: [{ type: 'Ready', status: extra.ready ? 'True' : 'False' }],
          },
        }),
  }
}

test.each([
  ['nobody has taken it', pod(undefined, [RUNNING]), '0/1', 'Pending', 0],
  ['running', pod('Running', [RUNNING, RUNNING]), '2/2', 'Running', 1],
  ['being made', pod('Pending', [waiting('ContainerCreating')]), '0/1', 'ContainerCreating', 0],
  ['one image is missing', pod('Pending', [RUNNING, waiting('ImagePullBackOff')]), '1/2', 'ImagePullBackOff', 1],
  [
    'the first reason wins',
    pod('Pending', [waiting('CrashLoopBackOff'), waiting('ImagePullBackOff')]),
    '0/2',
    'CrashLoopBackOff',
    1,
  ],
  ['done', pod('Succeeded', [COMPLETED]), '0/1', 'Completed', 0],
  ['failed', pod('Failed', [{ terminated: { exitCode: 3, reason: 'Error' } }]), '0/1', 'Error', 0],
  ['failed without a reason', pod('Failed', [{ terminated: { exitCode: 137 } }]), '0/1', 'ExitCode:137', 0],
  ['one is done, the other runs', pod('Running', [COMPLETED, RUNNING], { ready: true }), '1/2', 'Running', 1],
  ['the same, not ready', pod('Running', [COMPLETED, RUNNING]), '1/2', 'NotReady', 1],
  ['a reason of the pod', pod('Failed', [], { reason: 'Evicted' }), '0/0', 'Evicted', 0],
] as [string, Pod, string, string, number][])('%s', (_, object, ready, status, restarts) => {
  expect(summarizePod(object)).toEqual({ ready, status, restarts })
})
