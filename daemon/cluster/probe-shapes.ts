/**
 * The shapes of probe-objects.ts as zod schemas. Messages complete the sentence "FIELD VALUE …". That a named port is one
 * of the container's own is checked where the container is (`checkPortNames`).
 */
import { z } from 'zod'
import { portName, portNumber, text } from './fields.ts'
import type { Container } from './objects.ts'
import { type Lifecycle, PROBE_KINDS, type Probe } from './probe-objects.ts'

/** RFC 9110, 5.1 and 5.5. */
const HEADER_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
const HEADER_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/
const SECONDS_MAX = 2_147_483

const port = z.union([portNumber, portName], { error: 'must be a port from 1 to 65535, or the name of a port' })
const host = text(/^[0-9A-Za-z:.-]+$/, 'a host name or an address')
const seconds = z.int().max(SECONDS_MAX)
const count = z.int().min(1)

const httpGet = z.strictObject({
  path: text(/^[!-~]*$/, 'a path without spaces, such as /healthy?full=1').exactOptional(),
  port,
  host: host.exactOptional(),
  scheme: z.enum(['HTTP', 'HTTPS']).exactOptional(),
  httpHeaders: z
    .array(
      z.strictObject({
        name: text(HEADER_NAME, 'the name of a header, without spaces'),
        value: text(HEADER_VALUE, 'on one line'),
      }),
    )
    .exactOptional(),
})
const exec = z.strictObject({
  command: z.array(z.string()).min(1, { error: 'must hold the command and its arguments' }),
})

const probe: z.ZodType<Probe> = z
  .strictObject({
    httpGet: httpGet.exactOptional(),
    tcpSocket: z.strictObject({ port, host: host.exactOptional() }).exactOptional(),
    exec: exec.exactOptional(),
    grpc: z.strictObject({ port: portNumber, service: z.string().exactOptional() }).exactOptional(),
    initialDelaySeconds: seconds.min(0).exactOptional(),
    periodSeconds: seconds.min(1).exactOptional(),
    timeoutSeconds: seconds.min(1).exactOptional(),
    successThreshold: count.exactOptional(),
    failureThreshold: count.exactOptional(),
    terminationGracePeriodSeconds: seconds.min(1).exactOptional(),
  })
  .superRefine((value, context) => oneOf(value, ['httpGet', 'tcpSocket', 'exec', 'grpc'], context))

export const readinessProbe = probe.superRefine(({ terminationGracePeriodSeconds }, context) => {
  if (terminationGracePeriodSeconds === undefined) return
  const message = 'must not be set: a container that is not ready is not stopped'
  context.addIssue({ code: 'custom', path: ['terminationGracePeriodSeconds'], message })
})

/** Of a liveness or startup probe. */
export const stoppingProbe = probe.superRefine(({ successThreshold = 1 }, context) => {
  if (successThreshold === 1) return
  const message = 'must be 1, except in a readinessProbe'
  context.addIssue({ code: 'custom', path: ['successThreshold'], message })
})

export const lifecycle: z.ZodType<Lifecycle> = z.strictObject({
  preStop: z
    .strictObject({
      httpGet: httpGet.exactOptional(),
      exec: exec.exactOptional(),
      sleep: z.strictObject({ seconds: seconds.min(0) }).exactOptional(),
    })
    .superRefine((value, context) => oneOf(value, ['httpGet', 'exec', 'sleep'], context))
    .exactOptional(),
})

function oneOf(value: object, names: string[], context: z.RefinementCtx): void {
  const given = names.filter((name) => name in value)
  if (given.length === 1) return
  const rule = `must hold exactly one of ${names.join(', ').replace(/, (\w+)$/, ' and $1')}`
  const message = given.length === 0 ? rule : `${rule}, but holds ${given.join(' and ')}`
  context.addIssue({ code: 'custom', message })
}

/** A port that is meant by its name must be one of the container's. */
export function checkPortNames(container: Container, context: z.RefinementCtx): void {
  const names = (container.ports ?? []).flatMap(({ name }) => name ?? [])
  const check = (path: string[], named: number | string | undefined) => {
    if (typeof named !== 'string' || names.includes(named)) return
    const message =
      names.length === 0
        ? 'must be a number: the container has no named port'
        : `must be a number, or the name of a port of this container: ${names.join(', ')}`
    context.addIssue({ code: 'custom', path, message })
  }
  for (const kind of PROBE_KINDS) {
    check([kind, 'httpGet', 'port'], container[kind]?.httpGet?.port)
    check([kind, 'tcpSocket', 'port'], container[kind]?.tcpSocket?.port)
  }
  check(['lifecycle', 'preStop', 'httpGet', 'port'], container.lifecycle?.preStop?.httpGet?.port)
}
