/**
 * Fields that objects of several kinds have, as zod schemas: metadata, names, labels, ports, conditions. Messages complete
 * the sentence "FIELD VALUE …".
 */
import { z } from 'zod'
import { DNS_LABEL, DNS_LABEL_RULE, DNS_SUBDOMAIN, DNS_SUBDOMAIN_RULE } from '../config/dns-name.ts'

const LABEL_VALUE = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/
const LABEL_NAME = /^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/
const ANNOTATIONS_BYTES_MAX = 256 * 1024
const PORT_RULE = 'must be a port from 1 to 65535'

export function text(pattern: RegExp, rule: string): z.ZodString {
  return z.string().regex(pattern, { error: `must be ${rule}` })
}

export const labelValue = text(
  LABEL_VALUE,
  'at most 63 letters, digits, "-", "_" and ".", in quotes where it looks like a number',
)
export const label = text(DNS_LABEL, DNS_LABEL_RULE)
export const subdomain = text(DNS_SUBDOMAIN, DNS_SUBDOMAIN_RULE)

function isQualifiedName(key: string): boolean {
  const [name = '', prefix, ...rest] = key.split('/').reverse()
  return rest.length === 0 && LABEL_NAME.test(name) && (prefix === undefined || DNS_SUBDOMAIN.test(prefix))
}

export function keyed<Value extends z.ZodType>(value: Value) {
  return z.record(z.string(), value).superRefine((entries, context) => {
    for (const key of Object.keys(entries)) {
      if (isQualifiedName(key)) continue
      const message = 'has a key that must be [PREFIX/]NAME of letters, digits, "-", "_" and "."'
      context.addIssue({ code: 'custom', path: [key], message })
    }
  })
}

const annotations = keyed(z.string()).refine(
  (entries) =>
    Object.entries(entries).reduce((sum, [key, value]) => sum + key.length + value.length, 0) <= ANNOTATIONS_BYTES_MAX,
  { error: `must not be longer than ${ANNOTATIONS_BYTES_MAX} bytes together` },
)

const metadataFields = {
  uid: z.string().min(1).exactOptional(),
  creationTimestamp: z.iso
    .datetime({ offset: true, error: 'must be a time such as 2026-01-31T12:00:00Z' })
    .exactOptional(),
  labels: keyed(labelValue).exactOptional(),
  annotations: annotations.exactOptional(),
}

export const clusterMetadata = z.strictObject({ name: subdomain, ...metadataFields })
export const namespaceMetadata = z.strictObject({ name: label, ...metadataFields })
export const namespacedMetadata = z.strictObject({
  name: subdomain,
  namespace: label.default('default'),
  ...metadataFields,
})

export const portNumber = z.int({ error: PORT_RULE }).min(1, { error: PORT_RULE }).max(65_535, { error: PORT_RULE })
export const portName = text(
  /^(?=.*[a-z])[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?$/,
  'at most 15 lower-case letters, digits and "-"',
)

export const conditions = z.array(
  z.looseObject({
    type: z.string(),
    status: z.enum(['True', 'False', 'Unknown']),
    reason: z.string().exactOptional(),
    message: z.string().exactOptional(),
    lastHeartbeatTime: z.string().exactOptional(),
    lastTransitionTime: z.string().exactOptional(),
  }),
)
