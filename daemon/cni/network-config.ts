/**
 * The network configuration a runtime passes on stdin: decoded (code 6), its version known (code 1), its fields of the
 * right shape (code 7), and none in it that asks for what polder does not do (code 2, naming key and value).
 *
 * DEL takes a shorter way: whatever the configuration asks for, what was attached must go.
 */
import { z } from 'zod'
import {
  CniError,
  DECODING_FAILURE,
  INCOMPATIBLE_VERSION,
  INVALID_NETWORK_CONFIG,
  UNSUPPORTED_FIELD,
} from './cni-error.ts'
import { IDENTIFIER } from './environment.ts'
import { CNI_VERSIONS, type CniVersion, versionNamed } from './versions.ts'

/** The specification: a configuration without cniVersion is of 0.1.0. */
const VERSION_WHERE_NONE = '0.1.0'

const dnsSchema = z.looseObject({
  nameservers: z.array(z.string()).exactOptional(),
  domain: z.string().exactOptional(),
  search: z.array(z.string()).exactOptional(),
  options: z.array(z.string()).exactOptional(),
})

/** What an earlier plugin of the chain, or at CHECK the chain as a whole, has made. */
const resultSchema = z.looseObject({
  interfaces: z.array(z.looseObject({ name: z.string(), sandbox: z.string().exactOptional() })).default([]),
  ips: z.array(z.looseObject({ address: z.string() })).default([]),
  routes: z.array(z.looseObject({ dst: z.string() })).default([]),
  dns: dnsSchema.default({}),
})

const configSchema = z.looseObject({
  cniVersion: z.string(),
  name: z.string().regex(IDENTIFIER, 'must be letters, digits, and after the first also _ . -'),
  type: z.string().min(1),
  dns: dnsSchema.default({}),
  prevResult: resultSchema.exactOptional(),
})

export type CniResult = z.infer<typeof resultSchema>
export type NetworkConfig = z.infer<typeof configSchema>
export type RawConfig = { cniVersion?: unknown; [key: string]: unknown }

/** Fields that may have any value here: polder acts on them, or is told not to care. */
const ACCEPTED = new Set([
  'cniVersion',
  'name',
  'type',
  'args',
  'dns',
  'prevResult',
  'capabilities',
  // For the shim, which reads them before it can ask anybody.
  'socket',
  'spool',
])

export function decodeConfig(body: string): RawConfig {
  let decoded: unknown
  try {
    decoded = JSON.parse(body)
  } catch (error) {
    const why = body.trim() === '' ? 'it is empty' : (error as Error).message
    throw new CniError(DECODING_FAILURE, `the network configuration on stdin is not JSON: ${why}`, 'pass a JSON object')
  }
  if (typeof decoded !== 'object' || decoded === null || Array.isArray(decoded)) {
    throw new CniError(DECODING_FAILURE, 'the network configuration on stdin is no JSON object', 'pass a JSON object')
  }
  return decoded as RawConfig
}

export function versionOf(config: RawConfig): CniVersion {
  const asked = config.cniVersion ?? VERSION_WHERE_NONE
  const version = typeof asked === 'string' ? versionNamed(asked) : undefined
  if (version !== undefined) return version
  throw new CniError(
    INCOMPATIBLE_VERSION,
    `incompatible CNI version: the network configuration has ${JSON.stringify(asked)}`,
    `polder speaks ${CNI_VERSIONS.map((known) => known.version).join(', ')}`,
  )
}

/** For ADD and CHECK. */
export function validateConfig(raw: RawConfig): NetworkConfig {
  const parsed = configSchema.safeParse(raw)
  if (!parsed.success) {
    const faults = parsed.error.issues.map((issue) => `${issue.path.join('.') || 'it'}: ${issue.message}`)
    throw new CniError(
      INVALID_NETWORK_CONFIG,
      `invalid network configuration: ${faults.join('; ')}`,
      'see /etc/cni/net.d: polderd writes a right one as 10-polder.conflist',
    )
  }
  refuseUnsupported(raw)
  return parsed.data
}

function refuseUnsupported(raw: RawConfig): void {
  for (const [key, value] of Object.entries(raw)) {
    // cni.dev/ is the specification's own prefix.
    if (ACCEPTED.has(key) || key.startsWith('cni.dev/')) continue
    if (key === 'runtimeConfig') {
      for (const [capability, wish] of Object.entries((value ?? {}) as object))
        refuse(`runtimeConfig.${capability}`, wish)
    } else {
      refuse(key, value)
    }
  }
}

/** Nothing wished for is nothing to refuse: false, null, empty. */
function refuse(key: string, value: unknown): void {
  const empty = value === false || value === null || value === '' || (typeof value === 'object' && isEmpty(value))
  if (empty) return
  throw new CniError(
    UNSUPPORTED_FIELD,
    `unsupported field in the network configuration: ${key} = ${JSON.stringify(value)}`,
    'remove it from the configuration: polder does not act on it',
  )
}

function isEmpty(value: object): boolean {
  return Object.keys(value).length === 0
}
