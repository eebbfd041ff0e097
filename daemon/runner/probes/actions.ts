/**
 * One try of a probe, or one call of a hook: over the network from the node itself, or a command in the container. It
 * never throws: what is wrong is the outcome, in words that stay the same while the trouble does.
 *
 * An HTTP answer from 200 to 399 is a success; redirects are not followed. TLS certificates are not verified.
 */
import http from 'node:http'
import https from 'node:https'
import net from 'node:net'
import type { Container } from '../../cluster/objects.ts'
import type { ExecAction, HttpGetAction, ProbeAction, StopHook, TcpSocketAction } from '../../cluster/probe-objects.ts'
import type { Outcome } from './outcome.ts'

/** What an action is done to. */
export interface ActionTarget {
  container: Container
  /** The pod's first address. */
  address: string
  /** Runs a command in the container and ends it when the time is up; `output` is the beginning of what it said. */
  exec(command: string[], timeoutMs: number): Promise<{ exitCode: number | undefined; output: string }>
}

const USER_AGENT = 'polder-probe'
const FAILED: Outcome = { passed: false }

export async function tryProbe(action: ProbeAction, target: ActionTarget, timeoutMs: number): Promise<Outcome> {
  if (action.grpc !== undefined) {
    // Few probes speak it, and it is large.
    const { grpcHealth } = await import('./grpc-health.ts')
    return await grpcHealth(socketOf(target.address, action.grpc.port), action.grpc.service ?? '', timeoutMs)
  }
  if (action.tcpSocket !== undefined) return await tcpConnect(action.tcpSocket, target, timeoutMs)
  return await tryAction(action, target, timeoutMs)
}

/** `sleep` is for whoever waits; it asks nobody anything. */
export async function tryAction(
  { httpGet, exec }: Pick<StopHook, 'httpGet' | 'exec'>,
  target: ActionTarget,
  timeoutMs: number,
): Promise<Outcome> {
  if (httpGet !== undefined) return await httpAsk(httpGet, target, timeoutMs)
  return exec === undefined ? FAILED : await execCommand(exec, target, timeoutMs)
}

async function execCommand({ command }: ExecAction, target: ActionTarget, timeoutMs: number): Promise<Outcome> {
  try {
    const { exitCode, output } = await target.exec(command, timeoutMs)
    if (exitCode === 0) return { passed: true }
    const said = output.trim() === '' ? '' : `: ${output.trim()}`
    if (exitCode === undefined)
      return { passed: false, message: `${command[0]} took longer than ${timeoutMs} ms${said}` }
    return { passed: false, message: `${command[0]} ended with exit code ${exitCode}${said}` }
  } catch (error) {
    return { passed: false, message: (error as Error).message }
  }
}

function httpAsk(action: HttpGetAction, target: ActionTarget, timeoutMs: number): Promise<Outcome> {
  const host = action.host ?? target.address
  const port = portOf(action.port, target.container)
  const secure = action.scheme === 'HTTPS'
  const path = (action.path ?? '').startsWith('/') ? action.path! : `/${action.path ?? ''}`
  const url = `${secure ? 'https' : 'http'}://${socketOf(host, port)}${path}`
  // As in Kubernetes, a header of the manifest replaces one that would be there anyway.
  const headers: Record<string, string | string[]> = { accept: '*/*', 'user-agent': USER_AGENT, connection: 'close' }
  const own = Map.groupBy(action.httpHeaders ?? [], ({ name }) => name.toLowerCase())
  for (const [name, given] of own) headers[name] = given.length === 1 ? given[0]!.value : given.map((one) => one.value)
  return settle(timeoutMs, url, (resolve, fail) => {
    const options = { host, port, path, headers, agent: false, rejectUnauthorized: false } as const
    const asked = (secure ? https : http).get(options, (response) => {
      const { statusCode = 0 } = response
      response.destroy()
      const passed = statusCode >= 200 && statusCode < 400
      resolve(passed ? { passed } : { passed, message: `${url} answered HTTP ${statusCode}` })
    })
    asked.on('error', fail)
    return () => asked.destroy()
  })
}

function tcpConnect(action: TcpSocketAction, target: ActionTarget, timeoutMs: number): Promise<Outcome> {
  const host = action.host ?? target.address
  const port = portOf(action.port, target.container)
  return settle(timeoutMs, socketOf(host, port), (resolve, fail) => {
    const socket = net.connect({ host, port }, () => {
      socket.destroy()
      resolve({ passed: true })
    })
    socket.on('error', fail)
    return () => socket.destroy()
  })
}

/** The first of: what `ask` resolves to, its failure, the time that is up; then `ask`'s undoing. */
function settle(
  timeoutMs: number,
  what: string,
  ask: (resolve: (outcome: Outcome) => void, fail: (error: Error) => void) => () => void,
): Promise<Outcome> {
  return new Promise((resolve) => {
    const end = (outcome: Outcome) => {
      clearTimeout(timer)
      resolve(outcome)
    }
    const timer = setTimeout(() => {
      end({ passed: false, message: `${what} did not answer within ${timeoutMs} ms` })
      undo()
    }, timeoutMs)
    const undo = ask(end, (error) => end({ passed: false, message: `${what}: ${reasonOf(error)}` }))
  })
}

/** Without the port that the kernel chose for this try: the same trouble is to read the same. */
function reasonOf(error: NodeJS.ErrnoException): string {
  if (error.code === 'ECONNREFUSED') return 'connection refused'
  if (error.code === 'ECONNRESET') return 'connection reset'
  if (error.code === 'EHOSTUNREACH' || error.code === 'ENETUNREACH') return 'unreachable'
  return error.message
}

/** The manifest's schema lets no name in that the container does not have. */
function portOf(port: number | string, { ports }: Container): number {
  return typeof port === 'number' ? port : (ports?.find(({ name }) => name === port)?.containerPort ?? 0)
}

function socketOf(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}
