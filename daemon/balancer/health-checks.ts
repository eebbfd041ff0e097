/**
 * healthCheckNodePort: for each Service that has one, an HTTP server on every address of the node that says how many
 * endpoints the node has, so that somebody else's balancer sends nobody where there is none. The answer is kube-proxy's:
 * 200 where there is an endpoint and the data path is at work, else 503. Any path, any method.
 *
 * A port that another process has is tried again; the port is shared with a polderd that takes over (SO_REUSEPORT).
 */
import { createServer, type Server } from 'node:http'
import { isDeepStrictEqual } from 'node:util'
import type { Logger } from 'pino'
import type { HealthCheck } from '../control/outward.ts'

export interface HealthChecksOptions {
  /** Those of now; another array after every change. */
  wanted: () => readonly HealthCheck[]
  /** Whether the data path is at work. */
  works: () => boolean
  log: Logger
}

const LOOK_MS = 250
/** Who asks says little and soon. */
const REQUEST_TIMEOUT_MS = 5000
const CONNECTIONS_MAX = 100

interface Serving {
  check: HealthCheck
  server: Server | undefined
  trouble: string | undefined
}

export class HealthChecks {
  readonly #options: HealthChecksOptions
  readonly #serving = new Map<number, Serving>()
  #seen: readonly HealthCheck[] = []
  #timer: NodeJS.Timeout | undefined

  constructor(options: HealthChecksOptions) {
    this.#options = options
  }

  start(): void {
    this.#timer = setInterval(() => this.#look(), LOOK_MS)
    this.#look()
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    for (const port of [...this.#serving.keys()]) this.#close(port)
  }

  #look(): void {
    const wanted = this.#options.wanted()
    const isOpen = [...this.#serving.values()].every(({ server }) => server !== undefined)
    if (wanted === this.#seen && isOpen) return
    this.#seen = wanted
    const byPort = new Map(wanted.map((check) => [check.port, check]))
    for (const port of this.#serving.keys()) if (!byPort.has(port)) this.#close(port)
    for (const [port, check] of byPort) {
      const serving = this.#serving.get(port) ?? { check, server: undefined, trouble: undefined }
      if (!isDeepStrictEqual(serving.check, check)) serving.check = check
      this.#serving.set(port, serving)
      if (serving.server === undefined) this.#open(serving, port)
    }
  }

  #open(serving: Serving, port: number): void {
    const server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: REQUEST_TIMEOUT_MS })
    server.maxConnections = CONNECTIONS_MAX
    server.on('request', (request, response) => {
      const { namespace, name, localEndpoints } = serving.check
      const serviceProxyHealthy = this.#options.works()
      const isHealthy = localEndpoints > 0 && serviceProxyHealthy
      response.writeHead(isHealthy ? 200 : 503, {
        'content-type': 'application/json',
        'x-content-type-options': 'nosniff',
        'x-load-balancing-endpoint-weight': String(localEndpoints),
        connection: 'close',
      })
      const body = JSON.stringify({ service: { namespace, name }, localEndpoints, serviceProxyHealthy })
      response.end(request.method === 'HEAD' ? undefined : body)
    })
    server.on('error', (error) => {
      // Tried again at the next look.
      if (serving.server === server) serving.server = undefined
      if (serving.trouble === error.message) return
      serving.trouble = error.message
      const { namespace, name } = serving.check
      this.#options.log.error({ err: error, service: `${namespace}/${name}`, port }, 'a health check has no port')
    })
    server.on('listening', () => {
      serving.trouble = undefined
    })
    serving.server = server
    // Both families at `::`; where the kernel has no IPv6, Node falls back to 0.0.0.0 for no host at all.
    server.listen({ port, reusePort: true })
  }

  #close(port: number): void {
    const serving = this.#serving.get(port)
    this.#serving.delete(port)
    serving?.server?.close()
    serving?.server?.closeAllConnections()
  }
}
