/**
 * Pod manifests on a real containerd (test/support/containerd.ts), whose CNI is the reference bridge plugin:
 *
 *   pod ── veth ── cni0 (10.244.9.1, fd00:10:244:9::1), both in the network namespace of the test's containerd
 */
import { readdirSync } from 'node:fs'
import { PassThrough } from 'node:stream'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Pod, PodStatus } from '../../daemon/cluster/objects.ts'
import { CriRuntime } from '../../daemon/runner/cri/cri-runtime.ts'
import { startContainerd, type TestContainerd, until } from '../support/containerd.ts'
import { Collector, execIn, forever, logsOf, podOf } from '../support/pods.ts'

let containerd: TestContainerd
let runtime: CriRuntime

function openRuntime(): CriRuntime {
  const { folder, socket } = containerd
  const facts = { nodeName: 'node1', hostIPs: ['192.0.2.1', '2001:db8::1'], logRoot: `${folder}/logs` }
  return new CriRuntime({ containerdSocket: socket, execDir: `${folder}/exec`, facts })
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

/** Asks again and again, as the reconciler does, until the pod is as expected. */
async function ensureUntil(pod: Pod, isThere: (status: PodStatus) => boolean): Promise<PodStatus> {
  return await until(`pod ${pod.metadata.name}`, async () => {
    const status = await runtime.ensure(pod)
    if (!isThere(status)) throw new Error(JSON.stringify(status))
    return status
  })
}

async function running(pod: Pod): Promise<PodStatus> {
  return await ensureUntil(pod, ({ phase, conditions }) => {
    return phase === 'Running' && conditions?.find(({ type }) => type === 'Ready')?.status === 'True'
  })
}

const remove = (pod: Pod) => runtime.remove({ namespace: 'default', name: pod.metadata.name })
const stateOf = (status: PodStatus) => status.containerStatuses![0]!.state

describe('a pod of two containers', () => {
  const pod = podOf('testpod', [
    {
      name: 'c00',
      image: 'ubuntu',
      command: ['/bin/bash', '-c', 'while true; do echo hello ; sleep 5; done'],
    },
    { name: 'c01', image: 'httpd', ports: [{ containerPort: 80 }] },
  ])
  let status: PodStatus
  beforeAll(async () => {
    status = await running(pod)
  })
  afterAll(() => remove(pod))

  test('is running, with addresses of both families', () => {
    expect(status).toMatchObject({
      nodeName: 'node1',
      phase: 'Running',
      podIP: expect.stringMatching(/^10\.244\.9\./),
      podIPs: [{ ip: status.podIP }, { ip: expect.stringMatching(/^fd00:10:244:9::/) }],
      hostIP: '192.0.2.1',
      containerStatuses: [
        { name: 'c00', ready: true, restartCount: 0, state: { running: {} } },
        { name: 'c01', ready: true, restartCount: 0, state: { running: {} } },
      ],
    })
  })

  test('shares localhost between its containers, in both families', async () => {
    await until('httpd', async () => {
      const { stdout } = await execIn(runtime, pod, ['curl', '-sS', 'localhost:80'], { container: 'c00' })
      expect(stdout).toContain('It works!')
    })
    const { stdout } = await execIn(runtime, pod, ['wget', '-qO-', 'http://[::1]/'], { container: 'c00' })
    expect(stdout).toContain('It works!')
  })

  test('nothing changes when it is asked for again', async () => {
    const before = await runtime.list()
    expect(await runtime.ensure({ ...pod, status })).toEqual(status)
    expect(await runtime.list()).toEqual(before)
  })

  test('another polderd finds it as it is', async () => {
    const successor = openRuntime()
    const before = await runtime.list()
    expect(await successor.ensure({ ...pod, status })).toEqual(status)
    expect(await successor.list()).toEqual(before)
    successor.close()
  })

  test('logs of the first container, or of the one that is named', async () => {
    expect(await logsOf(runtime, pod)).toMatch(/^(hello\n)+$/)
    expect(await logsOf(runtime, pod, { container: 'c01' })).toMatch(/"GET \/ HTTP\/1.1" 200/)
    await expect(logsOf(runtime, pod, { container: 'c02' })).rejects.toMatchObject({
      code: 'container-unknown',
      remedy: expect.stringContaining('c00, c01'),
    })
  })
})

test('nginx fetches from httpd by both addresses; httpd sees who asks', async () => {
  const [client, server] = [podOf('testpod1', [{ image: 'nginx' }]), podOf('testpod2', [{ image: 'httpd' }])]
  const [clientStatus, serverStatus] = await Promise.all([running(client), running(server)])
  for (const { ip } of serverStatus.podIPs!) {
    const url = `http://${ip.includes(':') ? `[${ip}]` : ip}/`
    await until(url, async () => {
      expect(await execIn(runtime, client, ['curl', '-sS', url])).toMatchObject({ exitCode: 0, stderr: '' })
    })
  }
  const log = await logsOf(runtime, server)
  for (const { ip } of clientStatus.podIPs!) expect(log).toContain(`${ip} - - `)
  for (const url of ['http://127.0.0.1/', 'http://[::1]/']) {
    const { stdout } = await execIn(runtime, client, ['curl', '-sS', url])
    expect(stdout).toContain('Welcome to nginx!')
  }
  expect(await logsOf(runtime, client)).toContain('"GET / HTTP/1.1" 200')
  await Promise.all([remove(client), remove(server)])
})

describe('exec', () => {
  const pod = podOf('exec', [forever()])
  beforeAll(() => running(pod))
  afterAll(() => remove(pod))

  test('keeps both outputs apart and hands on the exit code', async () => {
    const outcome = await execIn(runtime, pod, ['sh', '-c', 'echo out; echo err >&2; exit 7'])
    expect(outcome).toEqual({ exitCode: 7, stdout: 'out\n', stderr: 'err\n' })
    expect((await execIn(runtime, pod, ['sh', '-c', 'kill -9 $$'])).exitCode).toBe(137)
  })

  test('input of any length ends where it ends', async () => {
    const input = Buffer.from(Array.from({ length: 3_000_000 }, (_value, index) => (index * 7) % 251))
    const { stdout, exitCode } = await execIn(runtime, pod, ['cat'], { input })
    expect(exitCode).toBe(0)
    expect(Buffer.from(stdout, 'latin1').equals(input)).toBe(true)
    expect(await execIn(runtime, pod, ['wc', '-c'], { input: '' })).toMatchObject({ exitCode: 0, stdout: '0\n' })
  })

  test('delivers all of a large output', async () => {
    const { stdout } = await execIn(runtime, pod, ['sh', '-c', 'head -c 20000000 /dev/zero'])
    expect(stdout.length).toBe(20_000_000)
  })

  test('a command that reads no input ends although input goes on', async () => {
    const { exitCode } = await execIn(runtime, pod, ['true'], { input: Buffer.alloc(1_000_000) })
    expect(exitCode).toBe(0)
  })

  test('a terminal of the size that was asked for', async () => {
    const size = { columns: 91, rows: 33 }
    const { stdout, stderr } = await execIn(runtime, pod, ['sh', '-c', 'tty; stty size; echo $TERM; echo e >&2'], {
      tty: true,
      size,
    })
    expect(stdout).toMatch(/^\/dev\/pts\/\d+\r\n33 91\r\nxterm\r\ne\r\n$/)
    expect(stderr).toBe('')
  })

  test('a terminal takes input and new sizes while it runs', async () => {
    let resize: (size: { columns: number; rows: number }) => void = () => {}
    const [stdin, stdout] = [new PassThrough(), new Collector()]
    const command = ['sh', '-c', 'trap "stty size" WINCH; echo ready; read line; echo got $line']
    const exit = runtime.exec(
      pod,
      { command, tty: true, stdin: true },
      { stdin, stdout, stderr: new Collector(), onResize: (listener) => (resize = listener) },
    )
    await until('the shell', async () => expect(stdout.text).toContain('ready'))
    resize({ columns: 100, rows: 40 })
    stdin.write('word\n')
    expect(await exit).toBe(0)
    expect(stdout.text).toContain('got word')
  })

  test('a child that keeps the output open does not hold the end up', async () => {
    const { stdout } = await execIn(runtime, pod, ['sh', '-c', 'sleep 1000 & echo done'])
    expect(stdout).toBe('done\n')
  })

  test('a client that goes away takes its command along', async () => {
    const [stdin, stdout, stderr] = [new PassThrough(), new Collector(), new Collector()]
    const command = ['sh', '-c', 'echo begun; exec sleep 54321']
    const exit = runtime.exec(pod, { command }, { stdin, stdout, stderr, onResize: () => {} })
    await until('the command', async () => expect(stdout.text).toBe('begun\n'))
    stdout.destroy()
    expect(await exit).toBe(137)
    expect((await execIn(runtime, pod, ['ps'])).stdout).not.toContain('54321')
  })

  test('a command that is not there is named', async () => {
    await expect(execIn(runtime, pod, ['no-such-command'])).rejects.toMatchObject({
      code: 'exec-failed',
      message: expect.stringMatching(/no-such-command.*not found/),
    })
  })

  test('leaves no pipe behind', () => {
    expect(readdirSync(`${containerd.folder}/exec`)).toEqual([])
  })
})

test('environment, working folder, arguments, host name', async () => {
  const pod = podOf('fields', [
    {
      command: ['sh', '-c'],
      args: ['env; pwd; hostname; sleep 1000000'],
      workingDir: '/tmp',
      env: [
        { name: 'PLAIN', value: 'a b' },
        ...['metadata.name', 'metadata.namespace', "metadata.labels['app']", 'spec.nodeName'].map(
          (fieldPath, index) => ({
            name: `FIELD${index}`,
            valueFrom: { fieldRef: { fieldPath } },
          }),
        ),
        { name: 'IPS', valueFrom: { fieldRef: { fieldPath: 'status.podIPs' } } },
        { name: 'HOST', valueFrom: { fieldRef: { fieldPath: 'status.hostIP' } } },
      ],
    },
  ])
  pod.metadata.labels = { app: 'web' }
  const status = await running(pod)
  await until('output', async () => {
    const lines = (await logsOf(runtime, pod)).split('\n')
    const ips = status.podIPs!.map(({ ip }) => ip).join(',')
    const expected = [
      'PLAIN=a b',
      'FIELD0=fields',
      'FIELD1=default',
      'FIELD2=web',
      'FIELD3=node1',
      `IPS=${ips}`,
      'HOST=192.0.2.1',
    ]
    expect(lines).toEqual(expect.arrayContaining([...expected, '/tmp', 'fields']))
  })
  await remove(pod)
})

test('a hostNetwork pod has the network and the addresses of its node', async () => {
  const pod = podOf('host', [forever()], { hostNetwork: true })
  const status = await running(pod)
  expect(status.podIPs).toEqual([{ ip: '192.0.2.1' }, { ip: '2001:db8::1' }])
  expect((await execIn(runtime, pod, ['readlink', '/proc/self/ns/net'])).stdout).toBe(
    containerd.inside(['readlink', '/proc/self/ns/net']),
  )
  await remove(pod)
})

test('privileges: none more than the usual, all, or those named', async () => {
  const pod = podOf('privileges', [
    forever(),
    { ...forever(), securityContext: { privileged: true } },
    { ...forever(), securityContext: { capabilities: { add: ['NET_ADMIN'], drop: ['CHOWN'] } } },
  ])
  await running(pod)
  const can = async (container: string, script: string) =>
    (await execIn(runtime, pod, ['sh', '-c', script], { container })).exitCode === 0
  const addAddress = 'ip addr add 127.0.0.9/32 dev lo && ip addr del 127.0.0.9/32 dev lo'
  expect(await can('c0', addAddress)).toBe(false)
  expect(await can('c1', addAddress)).toBe(true)
  expect(await can('c2', addAddress)).toBe(true)
  expect(await can('c0', 'chown 1 /tmp')).toBe(true)
  expect(await can('c2', 'chown 1 /tmp')).toBe(false)
  expect(await can('c0', 'test -s /proc/timer_list')).toBe(false)
  await remove(pod)
})

describe('what ends', () => {
  const ending = (name: string, script: string, restartPolicy: 'Always' | 'OnFailure' | 'Never') =>
    podOf(name, [{ command: ['sh', '-c', script] }], { restartPolicy })

  test('Never: succeeds or fails, gives its addresses back, keeps its log', async () => {
    const [good, bad] = [ending('good', 'echo fine', 'Never'), ending('bad', 'exit 3', 'Never')]
    const succeeded = await ensureUntil(good, ({ phase }) => phase === 'Succeeded')
    expect(stateOf(succeeded).terminated).toMatchObject({ exitCode: 0, reason: 'Completed' })
    expect(succeeded.podIPs).toBeUndefined()
    expect(await logsOf(runtime, good)).toBe('fine\n')
    const failed = await ensureUntil(bad, ({ phase }) => phase === 'Failed')
    expect(stateOf(failed).terminated).toMatchObject({ exitCode: 3, reason: 'Error' })
    expect(failed.containerStatuses![0]!.restartCount).toBe(0)
    await Promise.all([remove(good), remove(bad)])
  })

  test('OnFailure: starts again what failed until it succeeds', async () => {
    // /dev/shm belongs to the pod and outlives its containers.
    const pod = ending('stubborn', 'test -e /dev/shm/once || { touch /dev/shm/once; exit 1; }', 'OnFailure')
    const status = await ensureUntil(pod, ({ phase }) => phase === 'Succeeded')
    expect(status.containerStatuses![0]!.restartCount).toBe(1)
    await remove(pod)
  })

  test('Always: starts again at once, then waits longer', async () => {
    const pod = ending('crash', 'echo round; exit 5', 'Always')
    const status = await ensureUntil(pod, (answer) => stateOf(answer).waiting !== undefined)
    expect(status).toMatchObject({ phase: 'Running', containerStatuses: [{ restartCount: 1, ready: false }] })
    expect(stateOf(status).waiting).toMatchObject({
      reason: 'CrashLoopBackOff',
      message: expect.stringMatching(/10 s.*exit code 5/),
    })
    expect(await logsOf(runtime, pod)).toBe('round\n')
    await remove(pod)
  })

  test('a command that is not there is named in the status', async () => {
    const pod = podOf('typo', [{ command: ['no-such-command'] }], { restartPolicy: 'Never' })
    const status = await ensureUntil(pod, ({ phase }) => phase === 'Failed')
    expect(stateOf(status).terminated!.message).toMatch(/no-such-command/)
    await remove(pod)
  })
})

describe('images', () => {
  test('one that is nowhere keeps its container waiting, and others running', async () => {
    const pod = podOf('absent', [{ ...forever() }, { image: 'localhost:1/no-such-image:v1' }])
    const status = await ensureUntil(pod, (answer) =>
      /Err/.test(answer.containerStatuses![1]!.state.waiting?.reason ?? ''),
    )
    expect(status.phase).toBe('Pending')
    expect(status.containerStatuses![0]!.state.running).toBeDefined()
    expect(status.containerStatuses![1]!.state.waiting).toMatchObject({
      reason: 'ErrImagePull',
      message: expect.stringMatching(/localhost:1\/no-such-image:v1.*ctr -n k8s.io images import/),
    })
    await ensureUntil(pod, (answer) => answer.containerStatuses![1]!.state.waiting?.reason === 'ImagePullBackOff')
    await remove(pod)
  })

  test('Never asks for nothing, Always asks although it is there', async () => {
    const never = podOf('never', [{ image: 'localhost:1/no-such-image', imagePullPolicy: 'Never' }])
    expect(stateOf(await runtime.ensure(never)).waiting).toMatchObject({ reason: 'ErrImageNeverPull' })
    const here = 'localhost:1/here:latest'
    containerd.ctr(['images', 'tag', 'docker.io/library/busybox:latest', here])
    const always = podOf('always', [{ image: here, imagePullPolicy: 'Always', ...forever() }])
    const present = podOf('present', [{ image: here, ...forever() }])
    await running(present)
    await ensureUntil(always, (answer) => stateOf(answer).waiting?.reason === 'ErrImagePull')
    await Promise.all([never, always, present].map(remove))
  })
})

describe('what changes', () => {
  test('a sandbox that died is replaced, its containers come back', async () => {
    const pod = podOf('phoenix', [forever()])
    await running(pod)
    containerd.inside(['pkill', '-9', '-x', 'pause'])
    const status = await ensureUntil(pod, (answer) => answer.containerStatuses![0]!.restartCount === 1)
    expect(stateOf(status).running).toBeDefined()
    expect((await execIn(runtime, pod, ['ip', 'addr'])).stdout).toContain(status.podIP)
    expect(await runtime.list()).toMatchObject([
      { name: 'phoenix', fingerprint: expect.stringMatching(/^\w+ 0,\w+ 1,0$/) },
    ])
    await remove(pod)
  })

  test('another image or command replaces the container, not the pod', async () => {
    const pod = podOf('changed', [forever('echo one')])
    const before = await running(pod)
    const changed = {
      ...pod,
      spec: { ...pod.spec, containers: [{ ...pod.spec.containers[0]!, ...forever('echo two') }] },
    }
    const after = await running(changed)
    expect(after.podIPs).toEqual(before.podIPs)
    await until('output', async () => expect(await logsOf(runtime, changed)).toBe('two\n'))
    await remove(pod)
  })

  test('another pod of the same name begins when the old one is gone', async () => {
    const pod = podOf('again', [forever()])
    await running(pod)
    const [old] = await runtime.list()
    const next = { ...pod, metadata: { ...pod.metadata, uid: 'another-uid' } }
    expect((await running(next)).containerStatuses![0]!.restartCount).toBe(0)
    const held = await runtime.list()
    expect(held).toMatchObject([{ name: 'again', uid: 'another-uid' }])
    expect(held[0]!.fingerprint).not.toBe(old!.fingerprint)
    expect(readdirSync(`${containerd.folder}/logs`)).toEqual(['default_again_another-uid'])
    await remove(pod)
  })

  test('a process gets the time that its pod gives it to end', async () => {
    const script = 'trap "echo bye > /dev/shm/said; exit 0" TERM; while true; do sleep 0.1; done'
    const patient = podOf('patient', [{ command: ['sh', '-c', script] }], { terminationGracePeriodSeconds: 20 })
    const deaf = podOf('deaf', [forever()], { terminationGracePeriodSeconds: 2 })
    await Promise.all([running(patient), running(deaf)])
    const [quickMs, slowMs] = await Promise.all(
      [patient, deaf].map(async (pod) => {
        const begun = Date.now()
        await remove(pod)
        return Date.now() - begun
      }),
    )
    expect(quickMs).toBeLessThan(5000)
    expect(slowMs).toBeGreaterThan(1900)
  })
})

describe('logs', () => {
  const pod = podOf('talk', [forever('for i in 1 2 3; do echo line $i; done; printf unfinished')])
  beforeAll(() => running(pod))
  afterAll(() => remove(pod))

  test('tail and timestamps', async () => {
    await until('output', async () => expect(await logsOf(runtime, pod)).toContain('line 3\n'))
    expect(await logsOf(runtime, pod, { tail: 1 })).toBe('line 3\n')
    expect(await logsOf(runtime, pod, { tail: 0 })).toBe('')
    expect(await logsOf(runtime, pod, { tail: 99 })).toBe('line 1\nline 2\nline 3\n')
    expect(await logsOf(runtime, pod, { tail: 1, timestamps: true })).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z line 3\n$/)
  })

  test('follow sees what comes, and ends with the container or its reader', async () => {
    const counter = podOf('count', [{ command: ['sh', '-c', 'for i in 1 2 3; do echo $i; sleep 0.3; done'] }], {
      restartPolicy: 'Never',
    })
    await runtime.ensure(counter)
    const whole = new Collector()
    await runtime.logs(counter, { follow: true }, whole)
    expect(whole.text).toBe('1\n2\n3\n')
    const reader = new Collector()
    const following = runtime.logs(pod, { follow: true }, reader)
    await until('output', async () => expect(reader.text).toContain('line 3'))
    reader.destroy()
    await following
    await remove(counter)
  })

  test('begin anew when they are long, and nobody who reads or follows misses a line', {
    timeout: 60_000,
  }, async () => {
    const lines = 'i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo line $i; sleep 0.01; done'
    const writer = podOf('long', [{ command: ['sh', '-c', lines] }], { restartPolicy: 'Never' })
    await runtime.ensure(writer)
    const reader = new Collector()
    const following = runtime.logs(writer, { follow: true }, reader)
    await until('output', async () => expect(reader.text).toContain('line 20\n'))
    await runtime.rotateLogs(100)
    await until('more', async () => expect(reader.text).toContain('line 100\n'))
    const folder = `${containerd.folder}/logs/default_long_${writer.metadata.uid}/${writer.spec.containers[0]!.name}`
    expect(readdirSync(folder).sort()).toEqual(['0.log', '0.log.1'])
    await following
    const all = Array.from({ length: 300 }, (_value, index) => `line ${index + 1}\n`)
    expect(reader.text).toBe(all.join(''))
    expect(await logsOf(runtime, writer)).toBe(all.join(''))
    expect(await logsOf(runtime, writer, { tail: 290 })).toBe(all.slice(10).join(''))
    await remove(writer)
  })
})

test('20 pods side by side leave nothing', async () => {
  const pods = Array.from({ length: 20 }, (_value, index) => podOf(`many${index}`, [forever()]))
  const statuses = await Promise.all(pods.map(running))
  expect(new Set(statuses.map(({ podIP }) => podIP)).size).toBe(20)
  expect(await runtime.list()).toHaveLength(20)
  await Promise.all(pods.map(remove))
  expect(await runtime.list()).toEqual([])
  expect(readdirSync(`${containerd.folder}/logs`)).toEqual([])
  expect(containerd.inside(['sh', '-c', 'ls /run/netns; ls /sys/class/net'])).not.toMatch(/cni-|veth/)
  const reserved = readdirSync(`${containerd.folder}/addresses/test`).filter((name) => /^[0-9a-f]+[.:]/.test(name))
  expect(reserved).toEqual([])
})

test('a containerd that is not there is named', async () => {
  const lost = new CriRuntime({
    containerdSocket: `${containerd.folder}/nobody.sock`,
    execDir: `${containerd.folder}/exec`,
    facts: { nodeName: 'node1', hostIPs: [], logRoot: containerd.folder },
  })
  await expect(lost.list()).rejects.toMatchObject({
    code: 'containerd-unreachable',
    remedy: expect.stringContaining('Start containerd'),
  })
  lost.close()
})
