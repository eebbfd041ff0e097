/**
 * Probes: what follows from outcomes, against a model that looks at the whole history; the actions against real servers on
 * loopback; the prober with its timers. In real containers: test/containers/runner-probes.test.ts.
 */
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import net, { type AddressInfo } from 'node:net'
import { join } from 'node:path'
import * as grpc from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import type { Container } from '../../daemon/cluster/objects.ts'
import { type Probe, timingOf } from '../../daemon/cluster/probe-objects.ts'
import { type ActionTarget, tryProbe } from '../../daemon/runner/probes/actions.ts'
import { beginProbe, dueAtMs, noteOutcome } from '../../daemon/runner/probes/probe-progress.ts'
import { Prober, type Verdict } from '../../daemon/runner/probes/prober.ts'
import { until } from '../support/cluster-folder.ts'

const CHECKOUT = join(import.meta.dirname, '../..')

describe('what outcomes mean', () => {
  /** The last word of which there were enough in a row, anywhere in the history; before any, what was believed. */
  function modelPasses(believed: boolean, outcomes: boolean[], successes: number, failures: number): boolean {
    let word = believed
    for (let end = 1; end <= outcomes.length; end++) {
      const history = outcomes.slice(0, end)
      if (history.length >= successes && history.slice(-successes).every((one) => one)) word = true
      if (history.length >= failures && history.slice(-failures).every((one) => !one)) word = false
    }
    return word
  }

  test('thresholds count outcomes in a row, as a model says that looks at all of them', () => {
    const threshold = fc.integer({ min: 1, max: 5 })
    fc.assert(
      fc.property(fc.boolean(), fc.array(fc.boolean()), threshold, threshold, (believed, outcomes, good, bad) => {
        const timing = timingOf({ successThreshold: good, failureThreshold: bad })
        const end = outcomes.reduce((so, passed, index) => noteOutcome(so, passed, index, timing), beginProbe(believed))
        expect(end.passes).toBe(modelPasses(believed, outcomes, good, bad))
      }),
    )
  })

  test("the first try comes after the container's first delay, the next ones a period after each other", () => {
    const timing = timingOf({ initialDelaySeconds: 7, periodSeconds: 3 })
    expect(dueAtMs(beginProbe(false), 100_000, timing)).toBe(107_000)
    expect(dueAtMs(noteOutcome(beginProbe(false), true, 108_000, timing), 100_000, timing)).toBe(111_000)
  })

  test("what a manifest leaves out is as Kubernetes' reference says", () => {
    const defaults = { initialDelayMs: 0, periodMs: 10_000, timeoutMs: 1000, successThreshold: 1, failureThreshold: 3 }
    expect(timingOf({})).toEqual(defaults)
  })
})

const container: Container = { name: 'web', image: 'web', ports: [{ name: 'http', containerPort: 0 }] }
const noExec: ActionTarget['exec'] = async () => ({ exitCode: 1, output: '' })
const targetOf = (address: string, port = 0, exec = noExec): ActionTarget => ({
  container: { ...container, ports: [{ name: 'http', containerPort: port }] },
  address,
  exec,
})
const passed = { passed: true }

const closers: (() => unknown)[] = []
afterAll(() => {
  for (const close of closers) close()
})

async function listen(server: net.Server, host: string): Promise<number> {
  closers.push(() => server.close())
  await once(server.listen(0, host), 'listening')
  return (server.address() as AddressInfo).port
}

const FAMILIES = [
  ['127.0.0.1', '127.0.0.1'],
  ['::1', '[::1]'],
] as const

test.each(FAMILIES)('over %s httpGet asks as the manifest says, and takes 200 to 399', async (host, shown) => {
  const asked: http.IncomingMessage[] = []
  const server = http.createServer((request, response) => {
    asked.push(request)
    response.writeHead(Number(request.url?.match(/\d{3}/)?.[0] ?? 200)).end('x'.repeat(100_000))
  })
  const port = await listen(server, host)
  const target = targetOf(host, port)
  expect(await tryProbe({ httpGet: { port: 'http' } }, target, 5000)).toEqual(passed)
  expect(await tryProbe({ httpGet: { port, path: 'code/399?x' } }, target, 5000)).toEqual(passed)
  expect(await tryProbe({ httpGet: { port, path: '/400' } }, target, 5000)).toEqual({
    passed: false,
    message: `http://${shown}:${port}/400 answered HTTP 400`,
  })
  const httpHeaders = [
    { name: 'X-Twice', value: 'a' },
    { name: 'Host', value: 'web.example' },
    { name: 'x-twice', value: 'b' },
    { name: 'User-Agent', value: 'mine' },
  ]
  expect(await tryProbe({ httpGet: { port, host, httpHeaders } }, targetOf('192.0.2.1'), 5000)).toEqual(passed)
  expect(asked.map(({ url }) => url)).toEqual(['/', '/code/399?x', '/400', '/'])
  expect(asked[0]!.headers).toMatchObject({ 'user-agent': 'polder-probe', accept: '*/*', host: `${shown}:${port}` })
  expect(asked[3]!.headers).toMatchObject({ 'x-twice': 'a, b', host: 'web.example', 'user-agent': 'mine' })
})

test.each(FAMILIES)('over %s tcpSocket connects, and says why it could not', async (host, shown) => {
  const server = net.createServer((socket) => socket.destroy())
  const port = await listen(server, host)
  expect(await tryProbe({ tcpSocket: { port: 'http' } }, targetOf(host, port), 5000)).toEqual(passed)
  server.close()
  await once(server, 'close')
  const refused = { passed: false, message: `${shown}:${port}: connection refused` }
  expect(await tryProbe({ tcpSocket: { port } }, targetOf(host), 5000)).toEqual(refused)
  expect(await tryProbe({ httpGet: { port } }, targetOf(host), 5000)).toMatchObject({
    message: `http://${shown}:${port}/: connection refused`,
  })
})

test.each(FAMILIES)('over %s a server that says nothing has until the time is up', async (host, shown) => {
  const port = await listen(
    net.createServer().on('connection', (socket) => closers.push(() => socket.destroy())),
    host,
  )
  const message = `http://${shown}:${port}/ did not answer within 50 ms`
  expect(await tryProbe({ httpGet: { port } }, targetOf(host), 50)).toEqual({ passed: false, message })
})

test.each(FAMILIES)('over %s grpc asks the health service', async (host, shown) => {
  const definition = loadSync(`${CHECKOUT}/daemon/runner/probes/health.proto`, { enums: String })
  const server = new grpc.Server()
  closers.push(() => server.forceShutdown())
  server.addService(definition['grpc.health.v1.Health'] as grpc.ServiceDefinition, {
    Check: ({ request }: { request: { service: string } }, answer: grpc.sendUnaryData<{ status: string }>) => {
      if (request.service === 'unheard-of') return answer({ code: grpc.status.NOT_FOUND, details: 'never heard of it' })
      answer(null, { status: request.service === 'ill' ? 'NOT_SERVING' : 'SERVING' })
    },
  })
  const credentials = grpc.ServerCredentials.createInsecure()
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`${shown}:0`, credentials, (error, bound) => (error ? reject(error) : resolve(bound)))
  })
  const target = targetOf(host)
  expect(await tryProbe({ grpc: { port } }, target, 5000)).toEqual(passed)
  const ill = { passed: false, message: `grpc ${shown}:${port} ill answered NOT_SERVING` }
  expect(await tryProbe({ grpc: { port, service: 'ill' } }, target, 5000)).toEqual(ill)
  const unknown = { passed: false, message: `grpc ${shown}:${port} unheard-of: never heard of it` }
  expect(await tryProbe({ grpc: { port, service: 'unheard-of' } }, target, 5000)).toEqual(unknown)
  server.forceShutdown()
  const gone = { passed: false, message: `grpc ${shown}:${port}: cannot be reached` }
  expect(await tryProbe({ grpc: { port } }, target, 5000)).toEqual(gone)
})

test('httpGet over TLS asks for no certificate that anybody knows', async () => {
  const folder = mkdtempSync('/tmp/polder-probes-')
  closers.push(() => rmSync(folder, { recursive: true }))
  const [key, cert] = [join(folder, 'key'), join(folder, 'cert')]
  const request = [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:prime256v1',
    '-nodes',
    '-subj',
    '/CN=x',
  ]
  execFileSync('openssl', [...request, '-days', '1', '-keyout', key, '-out', cert], { stdio: 'ignore' })
  const server = https.createServer({ key: readFileSync(key), cert: readFileSync(cert) }, (_, response) =>
    response.end(),
  )
  const port = await listen(server, '127.0.0.1')
  expect(await tryProbe({ httpGet: { port, scheme: 'HTTPS' } }, targetOf('127.0.0.1'), 5000)).toEqual(passed)
  expect((await tryProbe({ httpGet: { port } }, targetOf('127.0.0.1'), 5000)).passed).toBe(false)
})

test('exec passes with exit code 0', async () => {
  const commands: [string[], number][] = []
  const outcome = async (exitCode: number | undefined, output: string) =>
    await tryProbe(
      { exec: { command: ['check', 'it'] } },
      targetOf('', 0, async (command, timeoutMs) => {
        commands.push([command, timeoutMs])
        return { exitCode, output }
      }),
      1500,
    )
  expect(await outcome(0, 'fine')).toEqual(passed)
  expect(await outcome(7, ' not yet\n')).toEqual({ passed: false, message: 'check ended with exit code 7: not yet' })
  expect(await outcome(undefined, '')).toEqual({ passed: false, message: 'check took longer than 1500 ms' })
  expect(commands).toEqual(Array(3).fill([['check', 'it'], 1500]))
})

describe('the prober', () => {
  const often = { periodSeconds: 0.01, timeoutSeconds: 5 }
  /** A container of which each probe's outcome is as `says` has it at that moment. */
  function prober(
    probes: Partial<Record<'startupProbe' | 'readinessProbe' | 'livenessProbe', Probe>>,
    wasReady = false,
  ) {
    const says: Record<string, boolean> = {}
    const asked: string[] = []
    const news: Verdict[] = []
    const made = new Prober((uid, _container, verdict) => {
      expect(uid).toBe('pod')
      news.push(verdict)
    })
    closers.push(() => made.forget('pod'))
    const withCommands = Object.entries(probes).map(([kind, probe]) => [kind, { ...probe, exec: { command: [kind] } }])
    const probed = {
      ...targetOf(''),
      container: { ...container, ...Object.fromEntries(withCommands) } as Container,
      id: 'c1',
      startedAtMs: Date.now(),
      wasReady,
      exec: async ([kind]: string[]) => {
        asked.push(kind!)
        return { exitCode: says[kind!] ? 0 : 1, output: '' }
      },
    }
    return { made, says, asked, news, probed, follow: () => made.follow('pod', [probed]) }
  }

  test('without probes a container is ready', () => {
    const { made, follow } = prober({})
    follow()
    expect(made.verdict('c1')).toEqual({ ready: true })
    made.forget('pod')
    expect(made.verdict('c1')).toBeUndefined()
  })

  test('is ready once its readiness probe passed, and until it failed as often as it takes', async () => {
    const { made, says, news, follow } = prober({ readinessProbe: { ...often, failureThreshold: 2 } })
    follow()
    expect(made.verdict('c1')).toEqual({ ready: false, message: 'its readiness probe has not passed yet' })
    says['readinessProbe'] = true
    await until(() => made.verdict('c1')?.ready === true)
    const revision = made.revision('pod')
    says['readinessProbe'] = false
    await until(() => made.verdict('c1')?.ready === false)
    const message = 'its readiness probe failed: readinessProbe ended with exit code 1'
    expect(news.at(-1)).toEqual({ ready: false, message })
    expect(made.revision('pod')).toBe(revision + 1)
  })

  test('what was ready for an earlier polderd stays so until it fails', async () => {
    const { made, asked, news, follow } = prober({ readinessProbe: { ...often, failureThreshold: 5 } }, true)
    follow()
    expect(made.verdict('c1')).toEqual({ ready: true })
    await until(() => made.verdict('c1')?.ready === false)
    expect(asked.length).toBeGreaterThanOrEqual(5)
    expect(news).toHaveLength(1)
  })

  test('a startup probe goes first, the others after it', async () => {
    const probes = { startupProbe: { ...often, failureThreshold: 1000 }, readinessProbe: often, livenessProbe: often }
    const { made, says, asked, follow } = prober(probes)
    says['readinessProbe'] = says['livenessProbe'] = true
    follow()
    await until(() => asked.length > 5)
    expect(new Set(asked)).toEqual(new Set(['startupProbe']))
    expect(made.verdict('c1')).toMatchObject({ ready: false, message: expect.stringMatching(/startup probe failed/) })
    says['startupProbe'] = true
    await until(() => made.verdict('c1')?.ready === true)
    await until(() => asked.includes('livenessProbe'))
    const count = asked.filter((kind) => kind === 'startupProbe').length
    const length = asked.length
    await until(() => asked.length > length + 5)
    expect(asked.filter((kind) => kind === 'startupProbe')).toHaveLength(count)
  })

  test.each(['startupProbe', 'livenessProbe'] as const)(
    'a failed %s says that the container is to be stopped',
    async (kind) => {
      const { made, follow } = prober({ [kind]: { ...often, failureThreshold: 3, terminationGracePeriodSeconds: 9 } })
      follow()
      expect(made.verdict('c1')!.failed).toBeUndefined()
      await until(() => made.verdict('c1')!.failed !== undefined)
      expect(made.verdict('c1')!.failed).toMatchObject({ kind, probe: { terminationGracePeriodSeconds: 9 } })
    },
  )

  test('goes on where it was when told of the same container again, and begins anew with another probe', async () => {
    const { made, says, follow, probed } = prober({ readinessProbe: often })
    says['readinessProbe'] = true
    follow()
    await until(() => made.verdict('c1')?.ready === true)
    follow()
    expect(made.verdict('c1')).toEqual({ ready: true })
    probed.container = { ...probed.container, readinessProbe: { ...often, exec: { command: ['other'] } } }
    follow()
    // Another probe has not failed yet.
    expect(made.verdict('c1')).toEqual({ ready: true })
    await until(() => made.verdict('c1')?.ready === false)
  })

  test('while it is paused nobody is asked', async () => {
    const { made, asked, follow } = prober({ readinessProbe: often })
    follow()
    await until(() => asked.length > 2)
    made.pause()
    const count = asked.length
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(asked.length).toBeLessThanOrEqual(count + 1)
    made.resume()
    await until(() => asked.length > count + 2)
  })
})
