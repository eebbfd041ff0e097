/**
 * What a container may be asked, and told before it is stopped: probes and hooks as Kubernetes shapes them (API reference
 * v1.34, core/v1), with the defaults that Kubernetes has.
 */

export interface HttpGetAction {
  /** Absent: `/`. */
  path?: string
  /** A name is that of one of the container's ports. */
  port: number | string
  /** Absent: the pod's first address. */
  host?: string
  /** Certificates are not verified. Absent: HTTP. */
  scheme?: 'HTTP' | 'HTTPS'
  httpHeaders?: { name: string; value: string }[]
}

export interface TcpSocketAction {
  port: number | string
  host?: string
}

export interface ExecAction {
  command: string[]
}

export interface GrpcAction {
  port: number
  /** What grpc.health.v1 is asked about. Absent: the whole server. */
  service?: string
}

/** Exactly one of them. */
export interface ProbeAction {
  httpGet?: HttpGetAction
  tcpSocket?: TcpSocketAction
  exec?: ExecAction
  grpc?: GrpcAction
}

export interface Probe extends ProbeAction {
  initialDelaySeconds?: number
  periodSeconds?: number
  timeoutSeconds?: number
  successThreshold?: number
  failureThreshold?: number
  /** How long a container that failed may take to stop; only where a failure stops it. */
  terminationGracePeriodSeconds?: number
}

export type ProbeKind = 'startupProbe' | 'readinessProbe' | 'livenessProbe'
export const PROBE_KINDS: readonly ProbeKind[] = ['startupProbe', 'readinessProbe', 'livenessProbe']

/** Exactly one of them. */
export interface StopHook {
  httpGet?: HttpGetAction
  exec?: ExecAction
  sleep?: { seconds: number }
}

export interface Lifecycle {
  preStop?: StopHook
}

/** How often, how patiently, and how many times: with Kubernetes' defaults for what is absent. */
export interface ProbeTiming {
  initialDelayMs: number
  periodMs: number
  timeoutMs: number
  successThreshold: number
  failureThreshold: number
}

export function timingOf(probe: Probe): ProbeTiming {
  return {
    initialDelayMs: (probe.initialDelaySeconds ?? 0) * 1000,
    periodMs: (probe.periodSeconds ?? 10) * 1000,
    timeoutMs: (probe.timeoutSeconds ?? 1) * 1000,
    successThreshold: probe.successThreshold ?? 1,
    failureThreshold: probe.failureThreshold ?? 3,
  }
}
