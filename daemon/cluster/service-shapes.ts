/**
 * The shapes of service-objects.ts as zod schemas, as shapes.ts is for the others. Only the form is checked: whether an
 * address or a node port can be had is found out where it is claimed (folder/service-claims.ts), and told on the object.
 */
import { isIP } from 'node:net'
import { z } from 'zod'
import { cidrMistake } from '../config/cidr.ts'
import { DNS_LABEL, DNS_LABEL_RULE, DNS_SUBDOMAIN, DNS_SUBDOMAIN_RULE } from '../config/dns-name.ts'
import { conditions, keyed, labelValue, namespacedMetadata, portName, portNumber, text } from './fields.ts'
import { type EndpointSlice, HEADLESS, type Service, type ServiceSpec, type ServiceStatus } from './service-objects.ts'

const PORTS_MAX = 100
const ENDPOINTS_MAX = 1000
const HINTS_MAX = 8
const SOURCE_RANGES_MAX = 1000
const EXTERNAL_IPS_MAX = 100

const protocol = z.enum(['TCP', 'UDP', 'SCTP']).default('TCP')
const family = z.enum(['IPv4', 'IPv6'])
const address = z.string().refine((value) => isIP(value) !== 0, { error: 'must be an IP address' })
const clusterIP = z.string().refine((value) => value === '' || value === HEADLESS || isIP(value) !== 0, {
  error: 'must be an IP address or None',
})
const policy = z.enum(['Cluster', 'Local']).exactOptional()

/** Kubernetes lets host bits and blanks pass, and so does this. */
const sourceRange = z.string().superRefine((value, context) => {
  const message = cidrMistake(value.trim())
  if (message !== undefined && !message.startsWith('must have no host bits'))
    context.addIssue({ code: 'custom', message })
})

const servicePort = z.strictObject({
  name: text(DNS_LABEL, DNS_LABEL_RULE).exactOptional(),
  protocol,
  port: portNumber,
  targetPort: z.union([portNumber, portName], { error: 'must be a port, or the name of one' }).exactOptional(),
  nodePort: z.union([z.literal(0), portNumber], { error: 'must be a port' }).exactOptional(),
  appProtocol: z.string().exactOptional(),
})

const serviceSpec = z
  .strictObject({
    type: z.enum(['ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName']).default('ClusterIP'),
    selector: keyed(labelValue).exactOptional(),
    clusterIP: clusterIP.exactOptional(),
    clusterIPs: z.array(clusterIP).max(2).exactOptional(),
    ipFamilies: z.array(family).max(2).exactOptional(),
    ipFamilyPolicy: z.enum(['SingleStack', 'PreferDualStack', 'RequireDualStack']).exactOptional(),
    ports: z.array(servicePort).max(PORTS_MAX).exactOptional(),
    externalName: text(DNS_SUBDOMAIN, DNS_SUBDOMAIN_RULE).exactOptional(),
    internalTrafficPolicy: policy,
    externalTrafficPolicy: policy,
    sessionAffinity: z.enum(['None', 'ClientIP']).exactOptional(),
    sessionAffinityConfig: z
      .strictObject({
        clientIP: z.strictObject({ timeoutSeconds: z.int().min(1).max(86_400).exactOptional() }).exactOptional(),
      })
      .exactOptional(),
    publishNotReadyAddresses: z.boolean().exactOptional(),
    trafficDistribution: z.enum(['PreferClose', 'PreferSameZone', 'PreferSameNode']).exactOptional(),
    loadBalancerIP: z.union([z.literal(''), address], { error: 'must be an IP address' }).exactOptional(),
    loadBalancerClass: z.string().min(1).exactOptional(),
    allocateLoadBalancerNodePorts: z.boolean().exactOptional(),
    loadBalancerSourceRanges: z.array(sourceRange).max(SOURCE_RANGES_MAX).exactOptional(),
    externalIPs: z.array(address).max(EXTERNAL_IPS_MAX).exactOptional(),
    healthCheckNodePort: z.union([z.literal(0), portNumber], { error: 'must be a port' }).exactOptional(),
  })
  .superRefine(checkServiceSpec)

function checkServiceSpec(spec: ServiceSpec, context: z.RefinementCtx): void {
  const mistake = (path: PropertyKey[], message: string) => context.addIssue({ code: 'custom', path, message })
  const ports = spec.ports ?? []
  const isHeadless = spec.clusterIP === HEADLESS
  if (spec.type === 'ExternalName' && spec.externalName === undefined) mistake(['externalName'], 'must be a name')
  if (spec.type !== 'ExternalName' && !isHeadless && ports.length === 0) {
    mistake(['ports'], 'must hold at least one port')
  }
  if (isHeadless && spec.type !== 'ClusterIP')
    mistake(['clusterIP'], `must not be None for a Service of type ${spec.type}`)
  const [first] = spec.clusterIPs ?? []
  if (first !== undefined && spec.clusterIP !== undefined && first !== spec.clusterIP) {
    mistake(['clusterIPs'], 'must begin with clusterIP')
  }
  for (const list of ['clusterIPs', 'ipFamilies'] as const) {
    const families = (spec[list] ?? []).map((value) => (isIP(value) === 0 ? value : `IPv${isIP(value)}`))
    if (new Set(families).size < families.length) mistake([list], 'must hold at most one for each family')
  }
  for (const [index, port] of ports.entries()) {
    if (port.name === undefined && ports.length > 1)
      mistake(['ports', index, 'name'], 'must be given, as there are several')
    const same = ports.findIndex((one) => one.port === port.port && one.protocol === port.protocol)
    if (same !== index) mistake(['ports', index, 'port'], `must be unique: ports[${same}] has it for ${port.protocol}`)
    const namesake = ports.findIndex((one) => one.name === port.name)
    if (port.name !== undefined && namesake !== index) {
      mistake(['ports', index, 'name'], `must be unique: ports[${namesake}] has this name`)
    }
  }
}

export const service: z.ZodType<Service> = z.strictObject({
  apiVersion: z.literal('v1'),
  kind: z.literal('Service'),
  metadata: namespacedMetadata,
  spec: serviceSpec,
})

const hintedNames = z.array(z.strictObject({ name: z.string() })).max(HINTS_MAX)

const sliceEndpoint = z.strictObject({
  addresses: z.array(z.string()).min(1),
  conditions: z
    .strictObject({
      ready: z.boolean().exactOptional(),
      serving: z.boolean().exactOptional(),
      terminating: z.boolean().exactOptional(),
    })
    .exactOptional(),
  hostname: z.string().exactOptional(),
  nodeName: z.string().exactOptional(),
  zone: z.string().exactOptional(),
  hints: z
    .strictObject({ forZones: hintedNames.exactOptional(), forNodes: hintedNames.exactOptional() })
    .exactOptional(),
  targetRef: z
    .looseObject({
      kind: z.string().exactOptional(),
      namespace: z.string().exactOptional(),
      name: z.string().exactOptional(),
      uid: z.string().exactOptional(),
    })
    .exactOptional(),
})

export const endpointSlice: z.ZodType<EndpointSlice> = z
  .strictObject({
    apiVersion: z.literal('discovery.k8s.io/v1'),
    kind: z.literal('EndpointSlice'),
    metadata: namespacedMetadata,
    addressType: z.enum(['IPv4', 'IPv6', 'FQDN']),
    endpoints: z.array(sliceEndpoint).max(ENDPOINTS_MAX).default([]),
    ports: z
      .array(
        z.strictObject({
          name: z.string().exactOptional(),
          protocol,
          port: portNumber.exactOptional(),
          appProtocol: z.string().exactOptional(),
        }),
      )
      .max(PORTS_MAX)
      .exactOptional(),
  })
  .superRefine(({ addressType, endpoints }, context) => {
    if (addressType === 'FQDN') return
    for (const [index, { addresses }] of endpoints.entries()) {
      if (addresses.every((one) => `IPv${isIP(one)}` === addressType)) continue
      const message = `must hold ${addressType} addresses only`
      context.addIssue({ code: 'custom', path: ['endpoints', index, 'addresses'], message })
    }
  })

export const SERVICE_STATUS_SCHEMA: z.ZodType<ServiceStatus> = z.looseObject({
  clusterIPs: z.array(z.union([address, z.literal(HEADLESS)])),
  nodePorts: z.array(z.looseObject({ port: portNumber, protocol, nodePort: portNumber })),
  loadBalancer: z.looseObject({ ingress: z.array(z.looseObject({ ip: address })) }).exactOptional(),
  externals: z.array(z.looseObject({ ip: address, port: portNumber, protocol })).exactOptional(),
  healthCheckNodePort: portNumber.exactOptional(),
  conditions,
})
