/**
 * What of the Vagrant lab can be looked at without a VM: the Vagrantfile, where Vagrant is installed, and the files that
 * provisioning writes, read by polder's own readers. That such nodes form one network: netns/separate-folders.test.ts.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Node } from '../daemon/cluster/objects.ts'
import { parseManifests } from '../daemon/cluster/schema.ts'
import { loadConfig } from '../daemon/config/load.ts'
import { surroundingsOf } from '../daemon/control/surroundings.ts'

const CHECKOUT = join(import.meta.dirname, '..')
const PROVISION = join(CHECKOUT, 'scripts/vagrant-provision')
const hasVagrant = spawnSync('vagrant', ['--version']).status === 0

let scratch: string
beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), 'polder-vagrant-'))
})
afterEach(() => rmSync(scratch, { recursive: true, force: true }))

const provision = (...words: string[]) => execFileSync(PROVISION, words, { encoding: 'utf8' })
const nodesFolder = () => join(scratch, 'var/lib/polder/cluster/nodes')

function nodesWritten(): Node[] {
  const texts = readdirSync(nodesFolder()).map((name) => readFileSync(join(nodesFolder(), name), 'utf8'))
  return texts.flatMap((text) => parseManifests(text, 'a node').objects as Node[])
}

test.skipIf(!hasVagrant)('the Vagrantfile is valid', { timeout: 60_000 }, () => {
  // Vagrant's own state goes into the scratch folder; which provider there is does not matter.
  const env = { ...process.env, VAGRANT_HOME: scratch, VAGRANT_DOTFILE_PATH: join(scratch, 'state') }
  const { status, stdout, stderr } = spawnSync('vagrant', ['validate', '--ignore-provider'], {
    cwd: CHECKOUT,
    env,
    encoding: 'utf8',
  })
  expect(`${stdout}${stderr}`).toContain('Vagrantfile validated successfully.')
  expect(status).toBe(0)
})

test.each([1, 2, 3])('node %i gets its configuration, and the others as peers', (number) => {
  provision(String(number), '--root', scratch)
  const { config } = loadConfig([], {}, join(scratch, 'etc/polder/polder.yaml'))
  const own = {
    name: `node${number}`,
    address: `192.168.56.1${number}`,
    podCIDRs: [`10.244.${number}.0/24`, `fd00:10:244:${number}::/64`],
  }
  expect(config).toMatchObject({ nodeName: own.name, underlayAddress: own.address })

  const nodes = nodesWritten()
  expect(nodes.find(({ metadata }) => metadata.name === own.name)?.spec.podCIDRs).toEqual(own.podCIDRs)
  const { surroundings, unusable } = surroundingsOf(
    { name: own.name, podCIDRs: own.podCIDRs, underlayAddress: own.address, mtuBytes: 1450, tunnelMtuBytes: 1450 },
    nodes,
    config,
    () => true,
  )
  expect(unusable).toEqual([])
  const others = [1, 2, 3].filter((other) => other !== number).map((other) => `192.168.56.1${other}`)
  expect(surroundings.peers.map(({ underlayAddress }) => underlayAddress)).toEqual(others)
})

test('a node that a person has edited stays as it is', () => {
  provision('1', '--root', scratch)
  const path = join(nodesFolder(), 'node2.yaml')
  writeFileSync(path, 'edited')
  provision('1', '--root', scratch)
  expect(readFileSync(path, 'utf8')).toBe('edited')
})

test.each([
  [['4'], "'4' is no number of a node"],
  [[], "'' is no number of a node"],
  [['1', '--rot', 'x'], "unknown option '--rot'"],
])('%j is refused', (words, message) => {
  const { status, stderr } = spawnSync(PROVISION, words, { encoding: 'utf8' })
  expect(stderr).toContain(message)
  expect(status).toBe(1)
})
