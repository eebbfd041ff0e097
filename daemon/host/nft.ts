/**
 * The program `nft`, as a subprocess of some milliseconds: run when something has to change or to be looked at, never
 * in turn. Its failures are PolderErrors: `no-nft` where it is not installed, `nft-refused` with what it said.
 */
import { execFile } from 'node:child_process'
import { PolderError } from '../errors.ts'

const TIMEOUT_MS = 10_000
const OUTPUT_BYTES_MAX = 64 << 20
/** A service's PATH may lack them, and nft lives there. */
const PATH = `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`

/** Runs to its end and resolves to what it printed; `script` is its standard input. */
export function nft(words: readonly string[], script = ''): Promise<string> {
  const options = { timeout: TIMEOUT_MS, maxBuffer: OUTPUT_BYTES_MAX, env: { ...process.env, PATH, LC_ALL: 'C' } }
  return new Promise((resolve, reject) => {
    const child = execFile('nft', words, options, (error, stdout, stderr) => {
      if (error === null) resolve(stdout)
      else reject(refused(words, error, stderr))
    })
    // It may end without reading all of it: what it said then is the reason.
    child.stdin!.on('error', () => {})
    child.stdin!.end(script)
  })
}

function refused(words: readonly string[], error: Error & { code?: unknown }, stderr: string): PolderError {
  if (error.code === 'ENOENT' || error.code === 'EACCES') {
    return new PolderError(
      'no-nft',
      'the program nft is not installed: pods cannot reach the world outside the cluster',
      'Install it: apt-get install nftables (or the package nftables of your distribution).',
    )
  }
  return new PolderError(
    'nft-refused',
    `\`nft ${words.join(' ')}\` failed: ${stderr.trim() || error.message}`,
    'See whether this kernel has nf_tables with NAT: modprobe nf_tables, modprobe nft_masq',
  )
}
