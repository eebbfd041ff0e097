/**
 * A CNI call as anybody may make it: variables NAME=VALUE, one a line, an empty line, the configuration. Environment and
 * configuration are read as every verb reads them; nothing but a CniError is ever thrown, and what is let through can be
 * no way out of a folder, for names become file names.
 */
import { CniError } from '../../../daemon/cni/cni-error.ts'
import { CniEnvironment } from '../../../daemon/cni/environment.ts'
import { decodeConfig, garbageOf, validateConfig, versionOf } from '../../../daemon/cni/network-config.ts'
import type { Target } from '../target.ts'

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)

function read(environment: CniEnvironment, body: string): string {
  const said = new Set<string>()
  const attempt = <T>(what: string, take: () => T): T | undefined => {
    try {
      return take()
    } catch (error) {
      if (!(error instanceof CniError)) throw error
      said.add(`${what} ${error.code}`)
      return undefined
    }
  }
  const containerId = attempt('id', () => environment.containerId)
  const ifName = attempt('if', () => environment.ifName)
  for (const name of [containerId, ifName]) {
    if (name !== undefined && (/[/\0]/.test(name) || name === '.' || name === '..')) throw new Error(`a name ${name}`)
  }
  attempt('command', () => environment.command)
  attempt('netns', () => environment.netns)
  attempt('address', () => environment.wantedAddress)
  attempt('pod', () => environment.pod)
  const config = attempt('config', () => decodeConfig(body))
  if (config === undefined) return `${said.size} no configuration`
  attempt('version', () => versionOf(config))
  attempt('valid', () => validateConfig(config))
  const garbage = attempt('garbage', () => garbageOf(config))
  if (garbage !== undefined && /[/\0]/.test(garbage.network)) throw new Error(`a network ${garbage.network}`)
  return `${said.size} ${[...said].at(-1) ?? ''}`
}

function run(input: Uint8Array): string {
  const text = Buffer.from(input).toString('latin1')
  const at = text.indexOf('\n\n')
  const lines = (at < 0 ? text : text.slice(0, at)).split('\n')
  const headers: Record<string, string> = {}
  for (const line of lines) {
    const [name = '', ...rest] = line.split('=')
    if (/^CNI_[A-Z]+$/.test(name)) headers[name.toLowerCase().replace('_', '-')] = rest.join('=')
  }
  return read(new CniEnvironment(headers), Buffer.from(at < 0 ? '' : text.slice(at + 2), 'latin1').toString('utf8'))
}

const CALL = `CNI_COMMAND=ADD
CNI_CONTAINERID=a-1
CNI_NETNS=/run/netns/a
CNI_IFNAME=eth0
CNI_ARGS=IgnoreUnknown=1;IP=10.244.1.9;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_UID=u`
const seed = (config: object): Uint8Array => utf8(`${CALL}\n\n${JSON.stringify(config)}`)
const base = { cniVersion: '1.0.0', name: 'polder', type: 'polder-cni' }

export const cni: Target = {
  name: 'cni',
  watches: /\/daemon\/(cni|config)\//,
  seeds: [
    seed(base),
    seed({ ...base, runtimeConfig: { IPs: ['10.244.1.8/24'], dns: { Servers: ['10.96.0.10'], Searches: ['a.b'] } } }),
    seed({ ...base, args: { cni: { ips: ['10.244.1.7'] } }, ipMasq: true, bandwidth: { ingressRate: 1 } }),
    seed({ ...base, prevResult: { ips: [{ address: '10.244.1.8/24' }], routes: [{ dst: '0.0.0.0/0' }], dns: {} } }),
    seed({ ...base, 'cni.dev/valid-attachments': [{ containerID: 'a', ifname: 'eth0' }] }),
  ],
  words: [
    '../',
    '/',
    '..',
    '\0',
    'IP=',
    'MAC=',
    ';',
    '=',
    'K8S_POD_NAME=',
    '[',
    '{',
    '"',
    '\\u002f',
    '\\ud800',
    '1e999',
    '__proto__',
    'constructor',
    'fe80::1%eth0',
    '::ffff:1.2.3.4',
    '0.3.1',
    'null',
    '"ips":',
    'ÿ',
  ].map(utf8),
  bytesMax: 1500,
  run,
}
