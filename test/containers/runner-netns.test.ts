/**
 * Bare namespaces as pods, on a real kernel and with real attachments; what stands for the data path here keeps
 * descriptors and moves no packet.
 *
 *   this process: NetnsRuntime, NodeAttachments  ──TUN eth0──  /run/netns/polder-t<pid>-…
 */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { NodeAttachments } from '../../daemon/attachments/attachments.ts'
import type { Pod } from '../../daemon/cluster/objects.ts'
import type { PodPorts } from '../../daemon/dataplane/pod-ports.ts'
import { FdStore } from '../../daemon/handover/fd-store.ts'
import { HostPorts } from '../../daemon/host-ports/host-ports.ts'
import { Ipam } from '../../daemon/ipam/ipam.ts'
import { closeFd } from '../../daemon/nic/nic.ts'
import { NetnsRuntime } from '../../daemon/runner/netns-runtime.ts'
import { silentLog } from '../support/log.ts'
import { execIn, logsOf } from '../support/pods.ts'

class HeldPorts implements PodPorts {
  readonly #fds = new Map<number, number>()
  #next = 3

  async addPod(fd: number): Promise<number> {
    this.#fds.set(this.#next, fd)
    return this.#next++
  }

  async removePod(port: number): Promise<void> {
    closeFd(this.#fds.get(port)!)
    this.#fds.delete(port)
  }

  close(): void {
    for (const fd of this.#fds.values()) closeFd(fd)
    this.#fds.clear()
  }
}

interface Daemon {
  runtime: NetnsRuntime
  attachments: NodeAttachments
  stop(): Promise<void>
}

let stateDir: string
let daemon: Daemon

beforeEach(async () => {
  stateDir = mkdtempSync(join(tmpdir(), 'polder-t'))
  daemon = await start()
})

afterEach(async () => {
  for (const held of await daemon.runtime.list()) await daemon.runtime.remove(held)
  await daemon.stop()
  rmSync(stateDir, { recursive: true })
  expect(readdirSync('/run/netns').filter((name) => name.includes(`polder-t${process.pid}-`))).toEqual([])
})

async function start(): Promise<Daemon> {
  const ports = new HeldPorts()
  const ipam = new Ipam({ ranges: ['10.244.1.0/24', 'fd00:10:244:1::/64'], now: Date.now })
  const log = silentLog()
  const fdStore = new FdStore(undefined, new Map(), log)
  const hostPorts = new HostPorts({ nodePortOwner: () => undefined })
  const options = { stateDir, bootId: 'boot-1', ipam, ports, hostPorts, fdStore, mtuBytes: 1450, log }
  const attachments = new NodeAttachments(options)
  await attachments.restore()
  const runtime = new NetnsRuntime({ attachments, nodeName: 'n1', hostIPs: ['192.0.2.1'], network: 'polder' })
  const stop = async () => {
    ports.close()
    await attachments.close()
  }
  return { runtime, attachments, stop }
}

function barePod(word: string, namespace = 'default'): Pod {
  const metadata = { name: `polder-t${process.pid}-${word}`, namespace, uid: `uid-of-${word}` }
  return { apiVersion: 'v1', kind: 'Pod', metadata, spec: { containers: [], runtimeClassName: 'netns' } }
}

test('is a namespace with loopback and an attached eth0, found under its name', async () => {
  const pod = barePod('a')
  const status = await daemon.runtime.ensure(pod)
  expect(status).toMatchObject({ nodeName: 'n1', phase: 'Running', hostIP: '192.0.2.1', podIPs: [{}, {}] })
  expect(status.conditions!.map(({ type, status }) => `${type}=${status}`)).toContain('Ready=True')
  const text = execFileSync('ip', ['-n', pod.metadata.name, '-br', 'addr'], { encoding: 'utf8' })
  for (const { ip } of status.podIPs!) expect(text).toContain(ip)
  expect(execFileSync('ip', ['-n', pod.metadata.name, '-br', 'addr', 'show', 'lo'], { encoding: 'utf8' })).toContain(
    '127.0.0.1',
  )
  expect(await daemon.runtime.ensure({ ...pod, status })).toEqual(status)
  expect(daemon.attachments.list()).toMatchObject([
    { containerId: `netns-${pod.metadata.name}`, pod: { uid: 'uid-of-a' } },
  ])
  await daemon.runtime.remove({ namespace: 'default', name: pod.metadata.name })
  expect(existsSync(`/run/netns/${pod.metadata.name}`)).toBe(false)
  expect(await daemon.runtime.list()).toEqual([])
  await daemon.runtime.remove({ namespace: 'default', name: pod.metadata.name })
})

test('namespaces of other Kubernetes namespaces do not collide', async () => {
  const [one, two] = [barePod('b'), barePod('b', 'other')]
  const statuses = [await daemon.runtime.ensure(one), await daemon.runtime.ensure(two)]
  expect(statuses[0]!.podIP).not.toBe(statuses[1]!.podIP)
  expect(existsSync(`/run/netns/other_${one.metadata.name}`)).toBe(true)
  expect((await daemon.runtime.list()).map(({ namespace }) => namespace).sort()).toEqual(['default', 'other'])
})

test('another polderd finds it, and removes it', async () => {
  const pod = barePod('c')
  const status = await daemon.runtime.ensure(pod)
  await daemon.stop()
  daemon = await start()
  expect(await daemon.runtime.list()).toMatchObject([{ name: pod.metadata.name, uid: 'uid-of-c' }])
  expect(await daemon.runtime.ensure({ ...pod, status })).toEqual(status)
})

test('made anew when somebody deleted the namespace, or for another pod of the name', async () => {
  const pod = barePod('d')
  await daemon.runtime.ensure(pod)
  const [held] = await daemon.runtime.list()
  execFileSync('ip', ['netns', 'delete', pod.metadata.name])
  expect((await daemon.runtime.list())[0]!.fingerprint).not.toBe(held!.fingerprint)
  expect((await daemon.runtime.ensure(pod)).phase).toBe('Running')
  expect((await execIn(daemon.runtime, pod, ['ip', '-br', 'addr', 'show', 'eth0'])).stdout).toContain('10.244.1.')
  const next = { ...pod, metadata: { ...pod.metadata, uid: 'another' } }
  expect((await daemon.runtime.ensure(next)).phase).toBe('Running')
  expect(await daemon.runtime.list()).toMatchObject([{ uid: 'another' }])
})

test('a namespace that somebody else made is left alone, and named', async () => {
  const pod = barePod('e')
  execFileSync('ip', ['netns', 'add', pod.metadata.name])
  expect(await daemon.runtime.ensure(pod)).toMatchObject({
    phase: 'Pending',
    reason: 'FailedCreateNetns',
    message: expect.stringMatching(/is not polder's.*ip netns delete/),
  })
  await daemon.runtime.remove({ namespace: 'default', name: pod.metadata.name })
  expect(existsSync(`/run/netns/${pod.metadata.name}`)).toBe(true)
  execFileSync('ip', ['netns', 'delete', pod.metadata.name])
})

test('commands run in it; terminals and logs are refused with what to do instead', async () => {
  const pod = barePod('f')
  await expect(execIn(daemon.runtime, pod, ['true'])).rejects.toMatchObject({ code: 'not-ready' })
  await daemon.runtime.ensure(pod)
  const outcome = await execIn(daemon.runtime, pod, ['sh', '-c', 'cat; echo err >&2; exit 3'], { input: 'in' })
  expect(outcome).toEqual({ exitCode: 3, stdout: 'in', stderr: 'err\n' })
  expect((await execIn(daemon.runtime, pod, ['sh', '-c', 'kill -9 $$'])).exitCode).toBe(137)
  expect(await execIn(daemon.runtime, pod, ['no-such-command'])).toMatchObject({ exitCode: 127 })
  await expect(execIn(daemon.runtime, pod, ['sh'], { tty: true })).rejects.toMatchObject({
    code: 'no-terminal',
    remedy: expect.stringContaining(`ip netns exec ${pod.metadata.name} sh`),
  })
  await expect(logsOf(daemon.runtime, pod)).rejects.toMatchObject({ code: 'no-log' })
})
