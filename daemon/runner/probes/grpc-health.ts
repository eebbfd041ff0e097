/**
 * Asks a gRPC server how it is, by the health checking protocol (grpc.health.v1, health.proto): SERVING is a success. In
 * clear text, as Kubernetes does it. One connection a try.
 */
import * as grpc from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import type { Outcome } from './outcome.ts'

type Check = (
  request: { service: string },
  options: grpc.CallOptions,
  done: (error: grpc.ServiceError | null, answer?: { status: string }) => void,
) => void

const definition = loadSync(`${import.meta.dirname}/health.proto`, { enums: String, defaults: true })
const HealthClient = grpc.makeClientConstructor(definition['grpc.health.v1.Health'] as grpc.ServiceDefinition, 'Health')

/** `socket` is HOST:PORT; an empty `service` asks about the whole server. */
export function grpcHealth(socket: string, service: string, timeoutMs: number): Promise<Outcome> {
  const what = `grpc ${socket}${service === '' ? '' : ` ${service}`}`
  const client = new HealthClient(socket, grpc.credentials.createInsecure(), { 'grpc.enable_http_proxy': 0 })
  const check = (client['Check'] as Check).bind(client)
  return new Promise((resolve) => {
    check({ service }, { deadline: Date.now() + timeoutMs }, (error, answer) => {
      client.close()
      if (answer?.status === 'SERVING') resolve({ passed: true })
      else if (answer !== undefined) resolve({ passed: false, message: `${what} answered ${answer.status}` })
      else resolve({ passed: false, message: `${what}: ${reasonOf(error!, timeoutMs)}` })
    })
  })
}

function reasonOf({ code, details }: grpc.ServiceError, timeoutMs: number): string {
  if (code === grpc.status.DEADLINE_EXCEEDED) return `did not answer within ${timeoutMs} ms`
  if (code === grpc.status.UNAVAILABLE) return 'cannot be reached'
  if (code === grpc.status.UNIMPLEMENTED) return 'does not serve grpc.health.v1'
  return details
}
