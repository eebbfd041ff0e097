/** `describe` of a pod: everything the object says, and the attachment its node made for it. */
import type { Attachment } from '../daemon/attachments/attachment.ts'
import { graceSecondsOf } from '../daemon/cluster/deletion.ts'
import { type Container, type ContainerStatus, type EnvVar, nodeOf, type Pod } from '../daemon/cluster/objects.ts'
import { probeFields } from './describe-probe.ts'
import type { Field } from './fields.ts'
import { podAddresses, summarizePod } from './pod-status.ts'

export function podFields(pod: Pod, attachment: Attachment | undefined): Field[] {
  const { metadata, spec, status } = pod
  const nodeName = nodeOf(pod)
  const node = nodeName === undefined || status?.hostIP === undefined ? nodeName : `${nodeName}/${status.hostIP}`
  return [
    ['Name', metadata.name],
    ['Namespace', metadata.namespace ?? 'default'],
    ['Node', node ?? '<none>'],
    ['Start Time', status?.startTime],
    ['Labels', pairs(metadata.labels, '=')],
    ['Annotations', pairs(metadata.annotations, ': ')],
    ['Status', statusText(pod)],
    ['Reason', status?.reason],
    ['Message', status?.message],
    ['IPs', podAddresses(pod)],
    ['Host Network', spec.hostNetwork ? 'true' : undefined],
    ['Runtime Class', spec.runtimeClassName],
    ['Grace Period', `${metadata.deletionGracePeriodSeconds ?? graceSecondsOf(pod)} s`],
    ['Restart Policy', spec.restartPolicy ?? 'Always'],
    ['Attachment', attachment === undefined ? undefined : attachmentFields(attachment)],
    ['Containers', spec.containers.length === 0 ? undefined : spec.containers.map((each) => containerField(each, pod))],
    ['Conditions', status?.conditions?.map(conditionField)],
  ]
}

function statusText({ metadata, status }: Pod): string {
  if (metadata.deletionTimestamp === undefined) return status?.phase ?? 'Pending'
  return `Terminating (by ${metadata.deletionTimestamp} at the latest)`
}

export function conditionField(condition: { type: string; status: string; reason?: string; message?: string }): Field {
  const why = [condition.reason, condition.message].filter((part) => part !== undefined && part !== '').join(': ')
  return [condition.type, why === '' ? condition.status : `${condition.status} (${why})`]
}

export function pairs(values: Record<string, string> | undefined, between: string): string[] {
  return Object.entries(values ?? {}).map(([key, value]) => `${key}${between}${value}`)
}

export function attachmentFields(attachment: Attachment): Field[] {
  return [
    ['Container', attachment.containerId],
    ['Interface', attachment.ifName],
    ['Namespace', attachment.netns],
    ['Addresses', attachment.addresses],
    ['Network', attachment.network],
    ['Created', attachment.createdAt],
  ]
}

function containerField(container: Container, pod: Pod): Field {
  const status = pod.status?.containerStatuses?.find((each) => each.name === container.name)
  const ports = container.ports?.map((port) => `${port.containerPort}/${port.protocol ?? 'TCP'}`)
  return [
    container.name,
    [
      ['Container ID', status?.containerID],
      ['Image', container.image],
      ['Ports', ports?.join(', ')],
      ['Command', container.command],
      ['Args', container.args],
      ...stateFields(status, summarizePod(pod).status),
      ['Ready', status === undefined ? undefined : capitalize(String(status.ready))],
      ['Restart Count', status?.restartCount.toString()],
      ...probeFields(container),
      ['Environment', container.env?.map(describeVariable)],
    ],
  ]
}

function stateFields(status: ContainerStatus | undefined, podStatus: string): Field[] {
  const { running, waiting, terminated } = status?.state ?? {}
  if (running !== undefined) {
    return [
      ['State', 'Running'],
      ['Started', running.startedAt],
    ]
  }
  if (terminated !== undefined) {
    return [
      ['State', 'Terminated'],
      ['Reason', terminated.reason],
      ['Message', terminated.message],
      ['Exit Code', String(terminated.exitCode)],
      ['Started', terminated.startedAt],
      ['Finished', terminated.finishedAt],
    ]
  }
  return [
    ['State', 'Waiting'],
    ['Reason', waiting?.reason ?? podStatus],
    ['Message', waiting?.message],
  ]
}

function describeVariable(variable: EnvVar): string {
  if (variable.valueFrom === undefined) return `${variable.name}=${variable.value ?? ''}`
  return `${variable.name} (${variable.valueFrom.fieldRef.fieldPath})`
}

function capitalize(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1)
}
