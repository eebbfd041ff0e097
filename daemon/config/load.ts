/**
 * Reads polderd's configuration from its four sources, the stronger first: flags, environment, file, defaults. Every
 * given value is checked, also one that a stronger source overrides, and all mistakes are reported together, each with
 * its place.
 *
 * It changes nothing on the machine and does not look whether what is configured exists.
 */
import { readFileSync, statSync } from 'node:fs'
import { PolderError } from '../errors.ts'
import { poolOf, poolsOverlap } from './address-pool.ts'
import { overlap, parseCidr } from './cidr.ts'
import type { Config } from './config.ts'
import { suggestion } from './nearest.ts'
import { parsePlaced, showValue } from './placed-yaml.ts'
import { DEFAULT_CONFIG_FILE } from './places.ts'
import { flagOf, SETTING_KEYS, SETTINGS, type SettingKey, variableOf } from './settings.ts'
import { TASK_FLAGS } from './task.ts'

const FILE_BYTES_MAX = 1 << 20

export interface LoadedConfig {
  config: Config
  /** The file that was read; undefined where there is none. */
  file: string | undefined
  /** Where each value comes from: `flag --vxlan-port`, `environment POLDER_VXLAN_PORT`, `FILE:LINE:COLUMN vxlanPort`, `default vxlanPort`. */
  places: Record<SettingKey, string>
}

interface Given {
  place: string
  value: unknown
  /** Place of one item of a list, where it has its own. */
  placeOfItem?: (index: number) => string
}

/** The configuration file's, which is read first, and the `polder` command's own. */
const OTHER_VARIABLES = new Set(['POLDER_CONFIG', 'POLDER_LAB'])

/** What one source gives. */
type Source = Map<SettingKey, Given>

/** `argv` without the program's name. Throws a PolderError `bad-config` that lists every mistake. */
export function loadConfig(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  defaultFile = DEFAULT_CONFIG_FILE,
): LoadedConfig {
  const mistakes: string[] = []
  const flags = readFlags(argv, mistakes)
  const environment = readEnvironment(env, mistakes)
  const { POLDER_CONFIG: fileFromEnvironment } = env
  const named = flags.file ?? fileFromEnvironment
  const file = readFile(named ?? defaultFile, named !== undefined, mistakes)

  const config: Partial<Record<SettingKey, unknown>> = {}
  const places = {} as Record<SettingKey, string>
  for (const key of SETTING_KEYS) {
    const fallback = { place: `default ${key}`, value: SETTINGS[key].default }
    const given = [file.settings.get(key), environment.get(key), flags.settings.get(key)].filter(isGiven)
    for (const one of given.length > 0 ? given : [fallback]) {
      config[key] = check(key, one, mistakes)
      places[key] = one.place
    }
  }
  if (mistakes.length === 0) {
    checkMaskSizes(config as unknown as Config, places, mistakes)
    checkServiceRanges(config as unknown as Config, places, mistakes)
    checkPools(config as unknown as Config, places, mistakes)
  }
  if (mistakes.length > 0) throw badConfig(mistakes)
  return { config: config as unknown as Config, file: file.path, places }
}

function isGiven(given: Given | undefined): given is Given {
  return given !== undefined
}

function badConfig(mistakes: string[]): PolderError {
  const message =
    mistakes.length === 1
      ? `The configuration is wrong: ${mistakes[0]}`
      : `The configuration has ${mistakes.length} mistakes:\n${mistakes.map((mistake) => `  ${mistake}`).join('\n')}`
  return new PolderError(
    'bad-config',
    message,
    'Correct it and start polderd again; `polderd --help` lists all settings.',
  )
}

function check(key: SettingKey, given: Given, mistakes: string[]): unknown {
  const result = SETTINGS[key].check.safeParse(given.value)
  if (result.success) return result.data
  for (const issue of result.error.issues) {
    const index = issue.path[0]
    if (typeof index === 'number') {
      const place = given.placeOfItem?.(index) ?? given.place
      mistakes.push(`${place}: ${showValue((given.value as unknown[])[index])} ${issue.message}`)
    } else {
      mistakes.push(`${given.place}: ${showValue(given.value)} ${issue.message}`)
    }
  }
  return undefined
}

/** A node's range must be smaller than its family's pod range. */
function checkMaskSizes(config: Config, places: Record<SettingKey, string>, mistakes: string[]): void {
  for (const cidr of config.podCIDRs) {
    const { family, prefixLength } = parseCidr(cidr)
    const key = family === 4 ? 'nodeMaskSizeIPv4' : 'nodeMaskSizeIPv6'
    if (config[key] > prefixLength) continue
    const rule = `must be longer than the prefix of ${cidr} (${places.podCIDRs})`
    mistakes.push(`${places[key]}: ${config[key]} ${rule}`)
  }
}

/** An address is a pod's or a Service's. */
function checkServiceRanges(config: Config, places: Record<SettingKey, string>, mistakes: string[]): void {
  // Services are others' then, and so are their ranges.
  if (config.services === 'off') config.serviceCIDRs = []
  for (const range of config.serviceCIDRs) {
    const pods = config.podCIDRs.find((cidr) => overlap(parseCidr(cidr), parseCidr(range)))
    if (pods !== undefined) mistakes.push(`${places.serviceCIDRs}: ${range} overlaps with ${pods} (${places.podCIDRs})`)
  }
}

/** An address of a pool is nobody else's, and of one pool. */
function checkPools(config: Config, places: Record<SettingKey, string>, mistakes: string[]): void {
  const { podCIDRs, serviceCIDRs, loadBalancerPools } = config
  for (const [index, pool] of loadBalancerPools.entries()) {
    const others: [SettingKey, string[]][] = [
      ['podCIDRs', podCIDRs],
      ['serviceCIDRs', serviceCIDRs],
      ['loadBalancerPools', loadBalancerPools.slice(0, index)],
    ]
    for (const [key, ranges] of others) {
      const other = ranges.find((range) => poolsOverlap(poolOf(range), poolOf(pool)))
      if (other === undefined) continue
      mistakes.push(`${places.loadBalancerPools}: ${pool} overlaps with ${other} (${places[key]})`)
    }
  }
}

function readFlags(argv: readonly string[], mistakes: string[]): { settings: Source; file: string | undefined } {
  const settings: Source = new Map()
  const keys = new Map(SETTING_KEYS.map((key) => [flagOf(key), key]))
  const negations = new Map(SETTING_KEYS.filter(isSwitch).map((key) => [flagOf(key).replace('--', '--no-'), key]))
  const known = [...keys.keys(), ...negations.keys(), '--config', '--help', '--version', ...TASK_FLAGS]
  let file: string | undefined
  for (const { name, text } of splitFlags(argv)) {
    const place = `flag ${name}`
    const key = keys.get(name)
    const negated = negations.get(name)
    if (!name.startsWith('-')) mistakes.push(`argument ${name}: is not allowed; there are flags only`)
    else if (negated !== undefined && text !== undefined) mistakes.push(`${place}: takes no value`)
    else if (negated !== undefined) settings.set(negated, { place, value: false })
    else if (key === undefined && name !== '--config') mistakes.push(`${place}: is not known${suggestion(name, known)}`)
    else if (key !== undefined && isSwitch(key)) settings.set(key, { place, value: fromText(key, text ?? 'true') })
    else if (text === undefined) mistakes.push(`${place}: needs a value`)
    else if (key === undefined) file = text
    else settings.set(key, { place, value: fromText(key, text) })
  }
  return { settings, file }
}

/** `--name=text`, `--name text` or `--name`, each with what belongs to it. */
function splitFlags(argv: readonly string[]): { name: string; text?: string }[] {
  const flags: { name: string; text?: string }[] = []
  for (let index = 0; index < argv.length; index++) {
    const argument = argv[index]!
    const equals = argument.indexOf('=')
    const next = argv[index + 1]
    if (argument.startsWith('--') && equals > 0) {
      flags.push({ name: argument.slice(0, equals), text: argument.slice(equals + 1) })
    } else if (argument.startsWith('--') && next !== undefined && !next.startsWith('--')) {
      flags.push({ name: argument, text: next })
      index++
    } else {
      flags.push({ name: argument })
    }
  }
  return flags
}

function isSwitch(key: SettingKey): boolean {
  return typeof SETTINGS[key].default === 'boolean'
}

function readEnvironment(env: Readonly<Record<string, string | undefined>>, mistakes: string[]): Source {
  const source: Source = new Map()
  const keys = new Map(SETTING_KEYS.map((key) => [variableOf(key), key]))
  // In a pod of a cluster with a Service called polder, Kubernetes itself sets POLDER_SERVICE_HOST, POLDER_PORT and more.
  const services = Object.keys(env).flatMap((name) => name.match(/^(POLDER_(?:.*_)?)SERVICE_HOST$/)?.[1] ?? [])
  for (const [name, text] of Object.entries(env)) {
    if (!name.startsWith('POLDER_') || OTHER_VARIABLES.has(name) || text === undefined) continue
    const key = keys.get(name)
    if (key !== undefined) source.set(key, { place: `environment ${name}`, value: fromText(key, text) })
    else if (!services.some((prefix) => name.startsWith(prefix))) {
      mistakes.push(`environment ${name}: is not known${suggestion(name, [...keys.keys(), 'POLDER_CONFIG'])}`)
    }
  }
  return source
}

/** A flag's or variable's text as the type that the setting has in the file; what does not fit stays text. */
function fromText(key: SettingKey, text: string): unknown {
  const type = typeof SETTINGS[key].default
  if (type === 'number' && /^\d{1,15}$/.test(text)) return Number(text)
  if (type === 'boolean' && /^(true|false)$/.test(text)) return text === 'true'
  if (type === 'object') return text.split(',').map((item) => item.trim())
  return text
}

function readFile(path: string, required: boolean, mistakes: string[]): { settings: Source; path: string | undefined } {
  const settings: Source = new Map()
  let text: string
  try {
    const stats = statSync(path)
    if (!stats.isFile() || stats.size > FILE_BYTES_MAX) {
      mistakes.push(`${path}: must be a file of at most ${FILE_BYTES_MAX} bytes`)
      return { settings, path: undefined }
    }
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if (required || (error as NodeJS.ErrnoException).code !== 'ENOENT') mistakes.push(`${path}: ${reasonOf(error)}`)
    return { settings, path: undefined }
  }
  const parsed = parsePlaced(text, path)
  mistakes.push(...parsed.mistakes)
  if (parsed.documents.length > 1)
    mistakes.push(`${path}: holds ${parsed.documents.length} YAML documents; must be one`)
  const document = parsed.documents[0]
  if (document?.value === undefined) return { settings, path }
  if (typeof document.value !== 'object' || Array.isArray(document.value)) {
    mistakes.push(`${document.placeOf([])}: must be settings, one \`name: value\` a line`)
    return { settings, path }
  }
  for (const [name, value] of Object.entries(document.value as Record<string, unknown>)) {
    const key = SETTING_KEYS.find((known) => known === name)
    if (key === undefined) {
      mistakes.push(`${document.placeOfKey([name])} ${name}: is not known${suggestion(name, SETTING_KEYS)}`)
      continue
    }
    const placeOfItem = (index: number) => `${document.placeOf([name, index])} ${name}[${index}]`
    settings.set(key, { place: `${document.placeOf([name])} ${name}`, value, placeOfItem })
  }
  return { settings, path }
}

function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  return code === 'ENOENT' ? 'does not exist' : message
}
