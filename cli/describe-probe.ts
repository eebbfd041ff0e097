/** Probes and hooks of a container in a line each, as `kubectl describe` has them. */
import type { Container } from '../daemon/cluster/objects.ts'
import {
  type HttpGetAction,
  type Probe,
  type ProbeAction,
  type StopHook,
  timingOf,
} from '../daemon/cluster/probe-objects.ts'
import type { Field } from './fields.ts'

export function probeFields({ startupProbe, readinessProbe, livenessProbe, lifecycle }: Container): Field[] {
  return [
    ['Startup', startupProbe && probeText(startupProbe)],
    ['Readiness', readinessProbe && probeText(readinessProbe)],
    ['Liveness', livenessProbe && probeText(livenessProbe)],
    ['Before Stop', lifecycle?.preStop && actionText(lifecycle.preStop)],
  ]
}

/** `http-get http://:8080/ delay=0s timeout=1s period=10s #success=1 #failure=3` */
function probeText(probe: Probe): string {
  const { initialDelayMs, timeoutMs, periodMs, successThreshold, failureThreshold } = timingOf(probe)
  const times = `delay=${initialDelayMs / 1000}s timeout=${timeoutMs / 1000}s period=${periodMs / 1000}s`
  return `${actionText(probe)} ${times} #success=${successThreshold} #failure=${failureThreshold}`
}

function actionText({ httpGet, tcpSocket, exec, grpc, sleep }: ProbeAction & StopHook): string {
  if (httpGet !== undefined) return `http-get ${urlOf(httpGet)}`
  if (tcpSocket !== undefined) return `tcp-socket ${tcpSocket.host ?? ''}:${tcpSocket.port}`
  if (grpc !== undefined) return `grpc :${grpc.port}${grpc.service ? ` ${grpc.service}` : ''}`
  if (exec !== undefined) return `exec [${exec.command.join(' ')}]`
  return `sleep ${sleep?.seconds}s`
}

function urlOf({ scheme = 'HTTP', host = '', port, path = '/' }: HttpGetAction): string {
  return `${scheme.toLowerCase()}://${host}:${port}${path.startsWith('/') ? path : `/${path}`}`
}
