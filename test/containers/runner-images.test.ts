/** scripts/images: an OCI image layout in which everything that is named is there, made once. */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'

const ROOT = join(import.meta.dirname, '../..')
const FOLDER = join(ROOT, 'build/images')
let layout: string

interface Descriptor {
  mediaType: string
  digest: string
  size: number
  annotations?: Record<string, string>
}

beforeAll(() => {
  execFileSync(join(ROOT, 'scripts/images'), [FOLDER], { stdio: 'ignore' })
  layout = mkdtempSync(join(tmpdir(), 'polder-t'))
  execFileSync('tar', ['-C', layout, '-xf', join(FOLDER, 'images.tar')])
})

afterAll(() => rmSync(layout, { recursive: true }))

const blob = ({ digest }: Descriptor) => readFileSync(join(layout, 'blobs', digest.replace(':', '/')))
const json = (descriptor: Descriptor) => JSON.parse(blob(descriptor).toString('utf8'))
const index = () => JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8')) as { manifests: Descriptor[] }

test('the images have the names under which manifests ask for them', () => {
  expect(
    index()
      .manifests.map(({ annotations }) => annotations!['io.containerd.image.name'])
      .sort(),
  ).toEqual([
    'docker.io/library/busybox:latest',
    'docker.io/library/httpd:latest',
    'docker.io/library/nginx:latest',
    'docker.io/library/ubuntu:latest',
    'localhost/polder/pause:latest',
  ])
})

test('every descriptor is true, and nothing lies there that none names', () => {
  const named = new Set<string>()
  const check = (descriptor: Descriptor) => {
    const bytes = blob(descriptor)
    expect(bytes.length).toBe(descriptor.size)
    expect(`sha256:${createHash('sha256').update(bytes).digest('hex')}`).toBe(descriptor.digest)
    named.add(descriptor.digest.slice('sha256:'.length))
  }
  for (const manifest of index().manifests) {
    check(manifest)
    const { config, layers } = json(manifest) as { config: Descriptor; layers: Descriptor[] }
    for (const part of [config, ...layers]) check(part)
    expect(json(config).rootfs.diff_ids).toEqual(layers.map(({ digest }) => digest))
  }
  expect(readdirSync(join(layout, 'blobs/sha256')).sort()).toEqual([...named].sort())
})

test('a second call has nothing to do', () => {
  const before = statSync(join(FOLDER, 'images.tar')).mtimeMs
  execFileSync(join(ROOT, 'scripts/images'), [FOLDER])
  expect(statSync(join(FOLDER, 'images.tar')).mtimeMs).toBe(before)
})
