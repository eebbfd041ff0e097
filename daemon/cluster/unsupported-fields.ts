/**
 * Fields that Kubernetes has and polder does not act on, by the place where they stand (indices left out). A manifest
 * that uses one is accepted with a warning, so that a tutorial's manifest applies as it is; a field that is neither here
 * nor in schema.ts is a typing mistake. Kubernetes API reference v1.34, core/v1.
 */
import type { Kind } from './objects.ts'

const METADATA = [
  'deletionGracePeriodSeconds',
  'deletionTimestamp',
  'finalizers',
  'generateName',
  'generation',
  'managedFields',
  'ownerReferences',
  'resourceVersion',
  'selfLink',
]

const POD_SPEC = [
  'activeDeadlineSeconds',
  'affinity',
  'automountServiceAccountToken',
  'dnsConfig',
  'dnsPolicy',
  'enableServiceLinks',
  'ephemeralContainers',
  'hostAliases',
  'hostIPC',
  'hostPID',
  'hostUsers',
  'hostnameOverride',
  'imagePullSecrets',
  'initContainers',
  'nodeSelector',
  'os',
  'overhead',
  'preemptionPolicy',
  'priority',
  'priorityClassName',
  'readinessGates',
  'resourceClaims',
  'resources',
  'schedulerName',
  'schedulingGates',
  'securityContext',
  'serviceAccount',
  'serviceAccountName',
  'setHostnameAsFQDN',
  'shareProcessNamespace',
  'subdomain',
  'tolerations',
  'topologySpreadConstraints',
  'volumes',
]

const CONTAINER = [
  'envFrom',
  'resizePolicy',
  'resources',
  'restartPolicy',
  'restartPolicyRules',
  'stdinOnce',
  'terminationMessagePath',
  'terminationMessagePolicy',
  'volumeDevices',
  'volumeMounts',
]

const SECURITY_CONTEXT = [
  'allowPrivilegeEscalation',
  'appArmorProfile',
  'procMount',
  'readOnlyRootFilesystem',
  'runAsGroup',
  'runAsNonRoot',
  'runAsUser',
  'seLinuxOptions',
  'seccompProfile',
  'windowsOptions',
]

export const UNSUPPORTED_FIELDS: Record<Kind, Record<string, readonly string[]>> = {
  Pod: {
    metadata: METADATA,
    spec: POD_SPEC,
    'spec.containers': CONTAINER,
    'spec.containers.lifecycle': ['postStart', 'stopSignal'],
    'spec.containers.env.valueFrom': ['configMapKeyRef', 'fileKeyRef', 'resourceFieldRef', 'secretKeyRef'],
    'spec.containers.env.valueFrom.fieldRef': ['apiVersion'],
    'spec.containers.securityContext': SECURITY_CONTEXT,
  },
  Node: {
    metadata: METADATA,
    spec: ['configSource', 'externalID', 'podCIDR', 'providerID', 'taints', 'unschedulable'],
  },
  Namespace: { '': ['spec'], metadata: METADATA },
  Service: { metadata: METADATA },
  EndpointSlice: { metadata: METADATA, endpoints: ['deprecatedTopology'] },
}
