/**
 * The network configuration a runtime passes on stdin: decoded (code 6), its version known (code 1), its fields of the
 * right shape (code 7), and none in it that asks for what polder does not do (code 2, naming key and value).
 *
 * DEL and GC take a shorter way: whatever the configuration asks for, what was attached must go.
 */
import { isIP } from 'node:net'
import { z } from 'zod'
import { showValue } from '../config/placed-yaml.ts'
import { asksForNothing, isAddress, readWishes, refuseField, type Wishes } from './capabilities.ts'
import { CniError, DECODING_FAILURE, INCOMPATIBLE_VERSION } from './cni-error.ts'
import { IDENTIFIER } from './environment.ts'
import { shaped } from './shaped.ts'
import { CNI_VERSIONS, type CniVersion, versionNamed } from './versions.ts'

/** The specification: a configuration without cniVersion is of 0.1.0. */
const VERSION_WHERE_NONE = '0.1.0'

const cidrText = z.string().refine((text) => text.includes('/') && isAddress(text), 'must be ADDRESS/PREFIX')

const dnsSchema = z.looseObject({
  nameservers: z.array(z.string().refine((text) => isIP(text) !== 0, 'must be an IP address')).exactOptional(),
  domain: z.string().exactOptional(),
  search: z.array(z.string()).exactOptional(),
  options: z.array(z.string()).exactOptional(),
})

/** What an earlier plugin of the chain, or at CHECK the chain as a whole, has made. */
const resultSchema = z.looseObject({
  interfaces: z.array(z.looseObject({ name: z.string(), sandbox: z.string().exactOptional() })).default([]),
  ips: z.array(z.looseObject({ address: cidrText })).default([]),
  routes: z.array(z.looseObject({ dst: cidrText })).default([]),
  dns: dnsSchema.default({}),
})

const name = z.string().regex(IDENTIFIER, 'must be letters, digits, and after the first also _ . -')

const configSchema = z.looseObject({
  cniVersion: z.string(),
  name,
  type: z.string().min(1),
  dns: dnsSchema.default({}),
  prevResult: resultSchema.exactOptional(),
})

/** Names as the specification has them. */
const garbageSchema = z.looseObject({
  name,
  'cni.dev/valid-attachments': z.array(z.looseObject({ containerID: z.string(), ifname: z.string() })).nullish(),
})

export type CniResult = z.infer<typeof resultSchema>
export type NetworkConfig = z.infer<typeof configSchema> & { wishes: Wishes }
export type RawConfig = { cniVersion?: unknown; [key: string]: unknown }

const NESTING_MAX = 64

/** A version as such, whether polder speaks it or not. */
const VERSION_SHAPE = /^\d+\.\d+\.\d+$/

/** Fields that may have any value here: polder acts on them, or is told not to care. */
const ACCEPTED = new Set([
  'cniVersion',
  'name',
  'type',
  'args',
  'dns',
  'prevResult',
  'runtimeConfig',
  'capabilities',
  // Asked for or not: what leaves the cluster is always masqueraded (daemon/host/nftables.ts), the rest never.
  'ipMasq',
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
  if (isDeeperThan(NESTING_MAX, decoded)) {
    const message = `the network configuration on stdin is nested deeper than ${NESTING_MAX} levels`
    throw new CniError(DECODING_FAILURE, message, 'pass a flatter one')
  }
  return decoded as RawConfig
}

export function versionOf(config: RawConfig): CniVersion {
  const asked = config.cniVersion ?? VERSION_WHERE_NONE
  if (typeof asked !== 'string' || !VERSION_SHAPE.test(asked)) {
    const message = `cniVersion in the network configuration is no version: ${showValue(asked)}`
    throw new CniError(
      DECODING_FAILURE,
      message,
      `polder speaks ${CNI_VERSIONS.map((known) => known.version).join(', ')}`,
    )
  }
  const version = versionNamed(asked)
  if (version !== undefined) return version
  throw new CniError(
    INCOMPATIBLE_VERSION,
    `incompatible CNI version: the network configuration has ${showValue(asked)}`,
    `polder speaks ${CNI_VERSIONS.map((known) => known.version).join(', ')}`,
  )
}

/** For ADD, CHECK and STATUS. */
export function validateConfig(raw: RawConfig): NetworkConfig {
  const config = shaped(configSchema, raw)
  for (const [key, value] of Object.entries(raw)) {
    // cni.dev/ is the specification's own prefix.
    if (ACCEPTED.has(key) || key.startsWith('cni.dev/') || asksForNothing(value)) continue
    refuseField(key, value)
  }
  return { ...config, wishes: readWishes(raw['runtimeConfig'], raw['args']) }
}

export interface Garbage {
  network: string
  /** What to keep. Undefined: there is no list, and so nothing to go by. */
  valid?: { containerId: string; ifName: string }[]
}

/**
 * For GC. A list of null is none: a runtime written in Go sends it for a list that it never made, and may have meant an
 * empty one, but what was not listed is not lightly removed.
 */
export function garbageOf(raw: RawConfig): Garbage {
  const { name: network, 'cni.dev/valid-attachments': listed } = shaped(garbageSchema, raw)
  if (listed === undefined || listed === null) return { network }
  return { network, valid: listed.map(({ containerID, ifname }) => ({ containerId: containerID, ifName: ifname })) }
}

function isDeeperThan(levels: number, value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  return levels === 0 || Object.values(value).some((each) => isDeeperThan(levels - 1, each))
}
